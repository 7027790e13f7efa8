"""What is said of numbers: sizes of effects, constants, what cannot be told."""

import math

import numpy as np
import pytest

from piwsl_plugins.tools.report.collected import Collected
from piwsl_plugins.tools.report.findings import MOST, findings, verdicts
from piwsl_plugins.tools.report.pages import sections
from piwsl_plugins.tools.report.parts.frequency_errors.analyse import StructureModes
from piwsl_plugins.tools.report.parts.label_errors import analyse
from piwsl_plugins.tools.report.parts.label_errors.analyse import Predicted
from piwsl_plugins.tools.report.settings import ReportSettings
from piwsl_plugins.tools.report.summary import summarise

N_FRAMES = 40
WATER = np.array([8, 1, 1])


def noise(seed, *shape):
    """Standard normal numbers without a mean, of root mean square 1."""
    values = np.random.default_rng(seed).normal(size=shape)
    values -= values.mean()
    return values / np.sqrt(np.mean(values**2))


def predicted(energy_error, force_error=None, slope=1.0, n_frames=N_FRAMES):
    """A model of water: labels scatter by 30 meV/atom, forces by 1000 meV/Å."""
    forces = 1000 * noise(1, n_frames, 3, 3)
    wrong = (slope - 1) * forces + (0 if force_error is None else force_error)
    return Predicted(
        numbers=[WATER] * n_frames,
        config_type=[""] * n_frames,
        energy=-5000 + 30 * noise(0, n_frames),
        energy_error=np.broadcast_to(np.asarray(energy_error, float), n_frames).copy(),
        forces=list(forces),
        force_error=list(np.broadcast_to(wrong, forces.shape)),
        stress=[None] * n_frames,
        stress_error=[None] * n_frames,
        dipole_error=[None] * n_frames,
        offset=None,
        seconds=[0.001] * n_frames,
    )


def summary(**models):
    """The summary of models that are given by their :class:`Predicted` or their vibrations."""
    data = {
        "files": ["x.xyz"],
        "digest": "0",
        "n_isolated_atoms": 0,
        "energy": [0.0] * N_FRAMES,
        "dipole": [None] * N_FRAMES,
        "numbers": [WATER] * N_FRAMES,
        "formula": ["H2O"] * N_FRAMES,
        "config_type": [""] * N_FRAMES,
    }
    settings = {**vars(ReportSettings()), "resamples": 200}
    index = {"data": data, "settings": settings, "created": "", "software": {}}
    index["models"] = [{"name": name, "source": name, "kind": "factory"} for name in models]
    results = {
        "vibrations": {name: model for name, model in models.items() if isinstance(model, list)},
        "labels": {name: [m] for name, m in models.items() if not isinstance(m, list)},
    }
    return summarise(Collected(index, results))


def said(found, model, kind=None):
    return [
        f["text"] for f in found["findings"] if f["model"] == model and kind in (None, f["kind"])
    ]


def modes(factor=1.0, shift=0.0, n_structures=4):
    """Vibrations with frequencies times a factor, half of them raised and half lowered."""
    found = []
    for label in range(n_structures):
        reference = np.linspace(300, 3700, 18) + label
        wrong = shift * np.where(np.arange(18) % 2, 1, -1)
        found.append(
            StructureModes(
                label, "CH3OH", 0.0, 324, reference, factor * reference + wrong, 0, 0, None, None
            )
        )
    return found


def test_a_lower_error_that_is_a_constant_is_called_one():
    """The numbers of a quick start: 11.1, 5.4, 7.6, but without the mean 3.5, 4.3, 4.8."""
    found = summary(
        baseline=predicted(3.5 * noise(2, N_FRAMES) + math.sqrt(11.1**2 - 3.5**2)),
        hessians=predicted(4.3 * noise(3, N_FRAMES) - math.sqrt(5.4**2 - 4.3**2)),
        weak=predicted(4.8 * noise(4, N_FRAMES) + math.sqrt(7.6**2 - 4.8**2)),
    )
    values = {name: model["values"] for name, model in found["models"].items()}
    whole = [round(v["energy_rmse"]["value"], 1) for v in values.values()]
    without = [round(v["energy_rmse_without_mean"]["value"], 1) for v in values.values()]
    assert (whole, without) == ([11.1, 5.4, 7.6], [3.5, 4.3, 4.8])
    words = (
        "the lower energy RMSE (11.1 → 5.4 meV/atom) is a constant: "
        "without the mean error 3.5 → 4.3"
    )
    assert words in " ".join(said(found, "hessians", "note"))
    assert words in found["verdicts"]["Labelled frames"]
    praise = said(found, "hessians", "good") + said(found, "weak", "good")
    assert not any("energy" in text for text in praise)
    ((_, rows), *_) = sections(found)
    marked = {row.label: [cell.best for cell in row.cells] for row in rows}
    # no value of a row is the best by a constant
    assert not any(marked["Energy RMSE"]) and not any(marked["Energy MAE"])
    assert marked["Energy RMSE without the mean error"] == [True, False, False]


def test_a_lower_error_that_is_no_constant_is_better():
    found = summary(
        base=predicted(8 * noise(2, N_FRAMES) + 2), mine=predicted(4 * noise(3, N_FRAMES))
    )
    (text,) = [text for text in said(found, "mine", "good") if "better" in text]
    assert "energy RMSE without the mean error −50 % (8 → 4 meV/atom)" in text
    assert not any("constant" in text for text in said(found, "mine"))


def test_offsets_of_elements_are_no_flat_energies():
    """Water and hydroxide, whose energies a constant for each element changes."""
    model = predicted(0.0)
    model.numbers[::2] = [WATER[:2]] * (N_FRAMES // 2)
    for frame in range(0, N_FRAMES, 2):
        model.forces[frame], model.force_error[frame] = model.forces[frame][:2], np.zeros((2, 3))
    n_atoms = np.array([len(numbers) for numbers in model.numbers])
    model.energy_error[:] = (3000.0 + 500.0 * (n_atoms - 1)) / n_atoms
    assert analyse.relative_energy_rmse(model) == pytest.approx(0, abs=1e-6)
    assert analyse.overall(model)["energy_rmse_without_mean"].value > 100
    texts = said(summary(mine=model), "mine")
    assert not any("hardly apart" in text for text in texts)
    assert any("--fit_energy_offset" in text for text in texts)


@pytest.mark.parametrize(("constant", "said_so"), [(5000.0, False), (800000.0, True)])
def test_of_three_frames_only_what_no_bond_is_worth_is_a_constant(constant, said_so):
    """Too few to fit energies of the elements: 5 eV/atom may be an error, 800 cannot."""
    model = predicted(constant, n_frames=3)
    assert analyse.relative_energy_rmse(model) is None
    texts = said(summary(mine=model), "mine")
    assert any("energies are off by" in text for text in texts) == said_so


def test_a_model_with_flat_energies_is_not_praised():
    """Forces are exact and better than the other's, but every energy is the same."""
    flat = predicted(-30 * noise(0, N_FRAMES))
    found = summary(
        base=predicted(0.1 * noise(3, N_FRAMES), 80 * noise(2, N_FRAMES, 3, 3)), flat=flat
    )
    assert not said(found, "flat", "good")
    assert any(
        "energies tell the frames hardly apart" in text for text in said(found, "flat", "bad")
    )
    assert "energies of flat tell the frames hardly apart" in found["verdicts"]["Labelled frames"]


@pytest.mark.parametrize(
    ("slope", "kind", "words"),
    [
        (0.95, "bad", "too small, the potential is too soft"),
        (1.06, "bad", "too large, the potential is too stiff"),
        (1.004, "good", "neither too small nor too large"),
    ],
)
def test_a_force_slope_is_judged_by_its_size(slope, kind, words):
    found = summary(mine=predicted(noise(2, N_FRAMES), 30 * noise(3, N_FRAMES, 3, 3), slope))
    (text,) = [text for text in said(found, "mine", kind) if "force slope" in text]
    assert words in text


def test_a_slope_whose_interval_includes_both_is_undetermined():
    wild = predicted(noise(2, 6), 3000 * noise(3, 6, 3, 3), n_frames=6)
    found = summary(mine=wild)
    slope = found["models"]["mine"]["values"]["force_slope"]
    assert slope["low"] < 0.98 and slope["high"] > 1.02
    (text,) = [text for text in said(found, "mine") if "force slope" in text]
    assert "undetermined, the interval includes forces too small, exact and too large" in text
    assert not said(found, "mine", "good") and not said(found, "mine", "bad")


def test_a_frequency_slope_of_a_few_thousandths_is_no_finding():
    found = summary(mine=modes(1.0037))
    slope = found["models"]["mine"]["values"]["frequency_slope"]
    assert slope["low"] > 1  # and yet
    assert not said(found, "mine", "bad")
    assert any("frequency slope 1.004" in text for text in said(found, "mine", "good"))


def test_wrong_frequencies_with_a_right_slope_are_not_praised():
    found = summary(mine=modes(shift=52.0))
    values = found["models"]["mine"]["values"]
    assert values["frequency_mae"]["value"] == pytest.approx(52)
    assert values["frequency_slope"]["value"] == pytest.approx(1, abs=0.01)
    assert not said(found, "mine", "good")
    assert any("frequencies are 52 cm⁻¹ wrong on average" in text for text in said(found, "mine"))


def test_a_soft_model_is_found_from_four_structures():
    texts = said(summary(mine=modes(0.95)), "mine", "bad")
    assert any("frequencies are too low, the potential is too soft" in text for text in texts)


def test_small_differences_are_none_and_wide_intervals_undetermined():
    same = summary(base=modes(shift=50.0), mine=modes(shift=49.0))
    assert "mine the same within 5 %" in same["verdicts"]["Vibrations"]
    assert not any("better" in text for text in said(same, "mine"))
    errors = 20 * noise(5, N_FRAMES), 24 * noise(6, N_FRAMES)
    wide = summary(base=predicted(errors[0]), mine=predicted(errors[1]))
    assert "mine undetermined" in wide["verdicts"]["Labelled frames"]


def test_at_most_six_things_stand_out_the_gravest_first():
    models = {
        f"m{n}": predicted((5 + n) * noise(n, N_FRAMES), 50 * n * noise(n, N_FRAMES, 3, 3), 0.9)
        for n in range(1, 8)
    }
    found = summary(**models)["findings"]
    assert len(found) == MOST
    assert [f["kind"] for f in found[:MOST]] == ["bad"] * MOST


@pytest.mark.parametrize(("length", "n_good"), [(0.2, 0), (5.0, 1)])
def test_short_dynamics_that_did_not_fail_are_no_finding(length, n_good):
    run = {"length": length, "survived": length, "failure": None}
    run |= {"ensemble": "langevin", "temperature": 300.0, "frame": 0, "seed": 0, "time": []}
    found = summary(mine=predicted(noise(2, N_FRAMES)))
    found["models"]["mine"]["dynamics"] = [run] * 4
    texts = [f["text"] for f in findings(found) if "dynamics" in f["text"]]
    assert len(texts) == n_good
    assert ("too short" in verdicts(found)["Dynamics"]) == (n_good == 0)
