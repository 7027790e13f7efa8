"""What cannot be trained on ends in one line, exit code 2 and no checkpoint, before training."""

from __future__ import annotations

import ase
import ase.io
import numpy as np
import pytest
import yaml
from nequip.train import EnergyForceLoss

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.nequip.config import DataError
from piwsl_plugins.nequip.data import check_data, datasets_of
from piwsl_plugins.nequip.labels import Reads

from .command_line import config, run
from .conftest import DATA

LOSS = {"_target_": "piwsl_plugins.nequip.PIWSLLoss"}
TRAIN = DATA / "ethanol_gfn2_train.xyz"


def damaged(kind):
    """Five frames of which one cannot be right, and what the message says of it."""
    frames = ase.io.read(TRAIN, "3:8")
    atoms = frames[2]
    if kind == "position":
        atoms.positions[4, 1] = np.nan
    elif kind == "forces":
        atoms.arrays["REF_forces"][4, 1] = np.inf
    elif kind == "energy":
        atoms.info["REF_energy"] = np.nan
    elif kind == "cell":
        atoms.pbc, atoms.cell = True, [[9, 0, 0], [0, 9, 0], [9, 9, 0]]
    elif kind == "no cell":
        atoms.pbc = True
    elif kind == "same place":
        atoms.positions[4] = atoms.positions[7]
    elif kind == "no atoms":
        frames[2] = ase.Atoms(info={"REF_energy": 0.0})
        frames[2].arrays["REF_forces"] = np.zeros((0, 3))
    return frames


MESSAGES = {
    "position": "position of atom 4 is not finite",
    "forces": "'forces' is not finite",
    "energy": "'total_energy' is not finite",
    "cell": "do not span a volume",
    "no cell": "do not span a volume",
    "same place": "atoms 4 and 7 are at the same place",
}


def failing(directory, made, *arguments):
    """The one line of a run that must end with exit code 2 and write no checkpoint."""
    (directory / "config.yaml").write_text(yaml.safe_dump(made))
    arguments = [*arguments, "config.yaml", "hydra.run.dir=out"]
    done = run("nequip-train", *arguments, directory=directory, check=False)
    assert done.returncode == 2, done.stdout
    assert "Traceback" not in done.stdout
    assert not list((directory / "out").glob("*.ckpt"))
    # Lightning makes the logger's directory before any hook
    assert not [path for path in (directory / "out/metrics").rglob("*") if path.is_file()]
    lines = [line for line in done.stdout.splitlines() if line.startswith("nequip-train: error: ")]
    assert len(lines) == 1 and done.stdout.rstrip().endswith(lines[0])
    return lines[0]


def datamodule(path):
    """NequIP's, with one file for training, set up as Lightning does it."""
    from hydra.utils import instantiate

    section = config()["data"]
    section.update(train_file_path=str(path), stats_manager=None)
    made = instantiate(section, _recursive_=False)
    made.setup("fit")
    return made


@pytest.mark.parametrize("kind", ["position", "forces", "energy", "cell", "same place"])
def test_frames_that_cannot_be_right(kind, tmp_path):
    ase.io.write(tmp_path / "bad.xyz", damaged(kind))
    datasets = datasets_of(datamodule(tmp_path / "bad.xyz"))
    needed = {"train": Reads.of("the loss", [EnergyForceLoss()])}
    with pytest.raises(DataError, match=MESSAGES[kind]) as caught:
        check_data(datasets, needed)
    assert str(caught.value).startswith(f"train data '{tmp_path / 'bad.xyz'}', frame 2 (from 0): ")
    if kind in ("forces", "energy"):  # not where the loss ignores them
        check_data(datasets, {})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["forces", "cell", "no cell"])
def test_frames_that_cannot_be_right_in_a_run(kind, tmp_path):
    ase.io.write(tmp_path / "bad.xyz", damaged(kind))
    made = config(loss=LOSS)
    made["data"]["train_file_path"] = "bad.xyz"
    line = failing(tmp_path, made)
    assert "train data 'bad.xyz'" in line and "frame 2 (from 0)" in line
    assert MESSAGES[kind] in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "message"),
    [("", "cannot be read"), ("cut", "it cannot be read after 1 frames")],
)
def test_files_that_cannot_be_read(content, message, tmp_path):
    lines = TRAIN.read_text().splitlines(keepends=True)[9:] if content else []
    (tmp_path / "bad.xyz").write_text("".join(lines[:18]))
    made = config(loss=LOSS)
    made["data"]["val_file_path"] = "bad.xyz"
    line = failing(tmp_path, made)
    assert "val data 'bad.xyz'" in line and message in line


@pytest.mark.slow
def test_wrong_options_in_a_run(tmp_path):
    loss = "${piwsl:{normalization: none}}"
    assert "allowed is one of per_atom, total" in failing(tmp_path, config(loss=loss))
    assert not (tmp_path / "out").exists()


def test_library_use_keeps_the_exceptions():
    from piwsl_plugins.nequip import PIWSLLoss

    with pytest.raises(SettingsError):
        PIWSLLoss(coeffs={"total_energy": -1.0})
