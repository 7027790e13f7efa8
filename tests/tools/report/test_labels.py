from types import SimpleNamespace

import numpy as np
import pytest
from ase.calculators.emt import EMT

from piwsl_plugins.tools.report.analysis import labels
from piwsl_plugins.tools.report.data import read_labelled
from piwsl_plugins.tools.report.figures.labels import force_slope
from piwsl_plugins.tools.report.measure.labels import predictions, reference
from piwsl_plugins.tools.report.settings import ReportSettings

from .known_calculators import Changed


@pytest.fixture
def compare(alloy_file, as_model, nothing):
    frames = read_labelled([alloy_file], ReportSettings())

    def run(calculator, fit_offset=False):
        result = predictions(as_model(calculator), frames, nothing)
        return labels.compare(reference(frames), result, fit_offset)

    return run


def test_a_model_against_itself_is_exact(compare):
    found = labels.overall(compare(EMT()))
    assert found["force_slope"].value == pytest.approx(1, abs=1e-6)
    for key in ("energy_rmse", "energy_mae", "force_rmse", "force_mae", "stress_rmse"):
        # the file rounds labels to 1e-8
        assert found[key].value < 1e-4


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.1])
def test_slope_is_the_factor_of_scaled_forces(compare, factor):
    predicted = compare(Changed(EMT(), force_factor=factor))
    assert labels.overall(predicted)["force_slope"].value == pytest.approx(factor, abs=1e-6)
    for _, _, found in labels.by_element(predicted):
        assert found["force_slope"].value == pytest.approx(factor, abs=1e-6)
    groups = list(labels.slope_by_magnitude(predicted))
    assert len(groups) == labels.MAGNITUDE_GROUPS
    for _, _, ratio in groups:
        assert ratio.value == pytest.approx(factor, abs=1e-5)


def test_slope_is_not_pulled_down_by_noise_of_the_model(compare):
    rng = np.random.default_rng(0)

    def noise(atoms, results):
        results["forces"] = results["forces"] + 0.1 * rng.standard_normal((len(atoms), 3))

    slope = labels.overall(compare(Changed(EMT(), change=noise)))["force_slope"].value
    assert slope == pytest.approx(1, abs=0.05)


def test_errors_equal_those_written_out(compare, alloy):
    predicted = compare(Changed(EMT(), force_factor=0.9, shift=0.5))
    found = labels.overall(predicted)
    per_atom = np.array([1000 * 0.5 / len(atoms) for atoms in alloy])
    assert found["energy_rmse"].value == pytest.approx(np.sqrt(np.mean(per_atom**2)), rel=1e-6)
    assert found["energy_mae"].value == pytest.approx(per_atom.mean(), rel=1e-6)
    components = 100 * np.concatenate([atoms.arrays["REF_forces"].ravel() for atoms in alloy])
    assert found["force_rmse"].value == pytest.approx(np.sqrt(np.mean(components**2)), rel=1e-6)
    assert found["force_mae"].value == pytest.approx(np.mean(np.abs(components)), rel=1e-6)


def test_groups_are_those_of_element_and_config_type(compare, alloy):
    predicted = compare(Changed(EMT(), force_factor=0.9, shift=0.5))
    kinds = {name: (count, found) for name, count, found in labels.by_config_type(predicted)}
    assert {name: count for name, (count, _) in kinds.items()} == {"long": 5, "short": 3}
    short = kinds["short"][1]
    assert short["energy_mae"].value == pytest.approx(1000 * 0.5 / 4, rel=1e-6)
    elements = {symbol: found for symbol, _, found in labels.by_element(predicted)}
    gold = 100 * np.concatenate([a.arrays["REF_forces"][a.symbols == "Au"].ravel() for a in alloy])
    assert elements["Au"]["force_rmse"].value == pytest.approx(np.sqrt(np.mean(gold**2)), rel=1e-6)


def test_stress_is_compared_where_it_is_labelled(compare):
    def squeeze(atoms, results):
        results["stress"] = results["stress"] + 0.002

    found = labels.overall(compare(Changed(EMT(), change=squeeze)))
    assert found["stress_rmse"].value == pytest.approx(2, abs=1e-4)
    assert found["stress_mae"].value == pytest.approx(2, abs=1e-4)


def test_fitted_offsets_are_those_of_the_elements(compare):
    def shift(atoms, results):
        results["energy"] += np.sum(np.where(atoms.symbols == "Au", 3.0, -1.5))

    raw = labels.overall(compare(Changed(EMT(), change=shift)))
    assert raw["energy_mae"].value > 100
    fitted = compare(Changed(EMT(), change=shift), fit_offset=True)
    assert fitted.offset == pytest.approx({"Cu": -1.5, "Au": 3.0}, abs=1e-6)
    assert labels.overall(fitted)["energy_rmse"].value < 1e-3


def test_figure_of_the_slope_shows_hot_frames_beside_others():
    """... where data have several config_types."""
    entry = {"value": 0.97, "low": 0.96, "high": 0.98}
    model = {
        "values": {"force_slope": entry},
        "force_slope_by_magnitude": [{"mean_force": 500.0, "force_slope": entry}],
        "by_config_type": {"cold": {"force_slope": entry}, "hot": {"force_slope": entry}},
    }
    collected = SimpleNamespace(models={"a": None, "b": None})
    figure = force_slope(collected, {"models": {"a": model, "b": model}})
    *_, last = figure.axes
    assert last.get_title() == "By config_type"
    assert [label.get_text() for label in last.get_xticklabels()] == ["cold", "hot"]
    single = {**model, "by_config_type": {}}
    assert len(force_slope(collected, {"models": {"a": single, "b": single}}).axes) == 2
