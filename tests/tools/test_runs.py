"""A run over frames: recognised by its settings, kept as it goes, gone on with."""

import json

import numpy as np
import pytest
from ase import Atoms

from piwsl_plugins.errors import InputError
from piwsl_plugins.frames.reading import Frame
from piwsl_plugins.tools import runs
from piwsl_plugins.tools.runs import Run

FRAMES = [Frame(Atoms("H2", [[0, 0, 0], [0, 0, 0.7 + 0.1 * i]]), f"frame {i}") for i in range(4)]
SETTINGS = {"calculator": "H2", "step": 0.01, "atoms": (1, 2)}


def opened(out, overwrite=False, **changed):
    return Run(out, {**SETTINGS, **changed}, overwrite, lambda path: ("{}", {}))


def distance(frame):
    return {"distance": np.array(frame.atoms.get_distance(0, 1))}


def interrupted(frame):
    if frame is FRAMES[2]:
        raise KeyboardInterrupt
    return distance(frame)


@pytest.fixture
def out(tmp_path):
    """Of a run that was interrupted at its third frame."""
    out = tmp_path / "out.npz"
    with pytest.raises(KeyboardInterrupt):
        opened(out).work(FRAMES, interrupted, "distances")
    return out


def test_an_interrupted_run_goes_on_with_what_is_missing(out):
    run = opened(out)
    assert [run.finished(frame) is not None for frame in FRAMES] == [True, True, False, False]
    worked_on = run.work(FRAMES, distance, "distances")
    assert [outcome.frame for outcome in worked_on] == FRAMES[2:]
    assert [float(run.finished(frame)["distance"]) for frame in FRAMES] == pytest.approx(
        [0.7, 0.8, 0.9, 1.0]
    )
    run.end()
    assert not list(out.parent.iterdir())


def test_the_folder_is_the_one_that_runs_have_always_had(out):
    folder = out.with_name("out.npz.partial")
    assert json.loads((folder / "run.json").read_text()) == {**SETTINGS, "atoms": [1, 2]}
    (file,) = folder.glob("*.npz")
    names = {f"{frame.key}.distance" for frame in FRAMES[:2]}
    assert file.stem == FRAMES[0].key and set(np.load(file)) == names


def test_another_run_is_refused_by_the_option_that_differs(out):
    with pytest.raises(InputError) as error:
        opened(out, step=0.02)
    assert "(step is 0.01 there and 0.02 here); give another --out, or --overwrite" in str(error)
    with pytest.raises(InputError, match=r"\(more is None there and 1 here\)"):
        opened(out, more=1)


def test_overwriting_looks_at_nothing_and_throws_away_with_the_first_frame(out):
    folder = out.with_name("out.npz.partial")
    before = {path.name for path in folder.iterdir()}
    run = opened(out, overwrite=True, step=0.02)
    assert not any(run.finished(frame) for frame in FRAMES)
    assert {path.name for path in folder.iterdir()} == before
    run.work(FRAMES[1:2], distance, "distances")
    assert {path.name for path in folder.iterdir()} == {"run.json", f"{FRAMES[1].key}.npz"}
    assert runs.replaced(out)
    again = opened(out, step=0.02)
    again.work(FRAMES[:1], distance, "distances")
    assert runs.replaced(out) and again.finished(FRAMES[1])


def test_what_failed_at_once_can_be_given_otherwise(tmp_path):
    def fails(frame):
        raise ValueError("no distance")

    run = opened(tmp_path / "out.npz")
    (outcome,) = run.work(FRAMES[:1], fails, "distances")
    assert outcome.failure == "ValueError: no distance" and not list(tmp_path.iterdir())
    opened(tmp_path / "out.npz", step=0.02)
