import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.io import read, write

from piwsl_plugins.errors import InputError
from piwsl_plugins.tools.report.frame_set import read_labelled, reference
from piwsl_plugins.tools.report.parts.label_errors import analyse
from piwsl_plugins.tools.report.parts.label_errors.draw import force_slope
from piwsl_plugins.tools.report.parts.label_errors.measure import predictions
from piwsl_plugins.tools.report.settings import ReportSettings

from ..known_calculators import Changed, point_charges


@pytest.fixture
def compare(alloy_file, as_model, nothing):
    frames = read_labelled([alloy_file], ReportSettings())

    def run(calculator, fit_offset=False):
        result = predictions(as_model(calculator), frames, nothing)
        return analyse.compare(reference(frames), result, fit_offset)

    return run


def test_a_model_against_itself_is_exact(compare):
    found = analyse.overall(compare(EMT()))
    assert found["force_slope"].value == pytest.approx(1, abs=1e-6)
    for key in ("energy_rmse", "energy_mae", "force_rmse", "force_mae", "stress_rmse"):
        # the file rounds labels to 1e-8
        assert found[key].value < 1e-4


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.1])
def test_slope_is_the_factor_of_scaled_forces(compare, factor):
    predicted = compare(Changed(EMT(), force_factor=factor))
    assert analyse.overall(predicted)["force_slope"].value == pytest.approx(factor, abs=1e-6)
    for _, _, found in analyse.by_element(predicted):
        assert found["force_slope"].value == pytest.approx(factor, abs=1e-6)
    groups = list(analyse.slope_by_magnitude(predicted))
    assert len(groups) == analyse.MAGNITUDE_GROUPS
    for _, _, ratio in groups:
        assert ratio.value == pytest.approx(factor, abs=1e-5)


def test_slope_is_not_pulled_down_by_noise_of_the_model(compare):
    rng = np.random.default_rng(0)

    def noise(atoms, results):
        results["forces"] = results["forces"] + 0.1 * rng.standard_normal((len(atoms), 3))

    slope = analyse.overall(compare(Changed(EMT(), change=noise)))["force_slope"].value
    assert slope == pytest.approx(1, abs=0.05)


def test_errors_equal_those_written_out(compare, alloy):
    predicted = compare(Changed(EMT(), force_factor=0.9, shift=0.5))
    found = analyse.overall(predicted)
    per_atom = np.array([1000 * 0.5 / len(atoms) for atoms in alloy])
    assert found["energy_rmse"].value == pytest.approx(np.sqrt(np.mean(per_atom**2)), rel=1e-6)
    assert found["energy_mae"].value == pytest.approx(per_atom.mean(), rel=1e-6)
    components = 100 * np.concatenate([atoms.arrays["REF_forces"].ravel() for atoms in alloy])
    assert found["force_rmse"].value == pytest.approx(np.sqrt(np.mean(components**2)), rel=1e-6)
    assert found["force_mae"].value == pytest.approx(np.mean(np.abs(components)), rel=1e-6)


def test_groups_are_those_of_element_and_config_type(compare, alloy):
    predicted = compare(Changed(EMT(), force_factor=0.9, shift=0.5))
    kinds = {name: (count, found) for name, count, found in analyse.by_config_type(predicted)}
    assert {name: count for name, (count, _) in kinds.items()} == {"long": 5, "short": 3}
    short = kinds["short"][1]
    assert short["energy_mae"].value == pytest.approx(1000 * 0.5 / 4, rel=1e-6)
    elements = {symbol: found for symbol, _, found in analyse.by_element(predicted)}
    gold = 100 * np.concatenate([a.arrays["REF_forces"][a.symbols == "Au"].ravel() for a in alloy])
    assert elements["Au"]["force_rmse"].value == pytest.approx(np.sqrt(np.mean(gold**2)), rel=1e-6)


def test_stress_is_compared_where_it_is_labelled(compare):
    def squeeze(atoms, results):
        results["stress"] = results["stress"] + 0.002

    found = analyse.overall(compare(Changed(EMT(), change=squeeze)))
    assert found["stress_rmse"].value == pytest.approx(2, abs=1e-4)
    assert found["stress_mae"].value == pytest.approx(2, abs=1e-4)


DISTANCES, CHARGE = np.array([1.10, 1.13, 1.16, 1.20, 1.25]), 0.3


@pytest.fixture
def monoxides(tmp_path):
    """CO along x, y and z in turn, of known dipoles; the last frame has none."""
    frames = []
    for index, distance in enumerate(DISTANCES):
        axis = np.eye(3)[index % 3]
        atoms = Atoms("CO", [np.zeros(3), distance * axis])
        atoms.calc = EMT()
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.arrays["REF_forces"] = atoms.get_forces()
        if index < len(DISTANCES) - 1:
            atoms.info["REF_dipole"] = -CHARGE * distance * axis
        atoms.calc = None
        frames.append(atoms)
    write(tmp_path / "monoxides.xyz", frames, format="extxyz")
    return tmp_path / "monoxides.xyz"


def overall(path, model, nothing, **settings):
    frames = read_labelled([path], ReportSettings.create(settings))
    return analyse.overall(
        analyse.compare(reference(frames), predictions(model, frames, nothing), False)
    )


def test_dipoles_are_compared_where_they_are_labelled(monoxides, as_model, nothing):
    found = overall(monoxides, as_model(point_charges(1.1 * CHARGE)), nothing)
    wrong = 1000 * 0.1 * CHARGE * DISTANCES[:-1]  # one component of three in each frame
    assert found["dipole_rmse"].value == pytest.approx(np.sqrt(np.mean(wrong**2) / 3), abs=1e-4)
    assert found["dipole_mae"].value == pytest.approx(np.mean(wrong) / 3, abs=1e-4)
    assert found["dipole_mae"].numerator.shape == (len(wrong),)


def test_dipoles_of_another_unit_or_that_nobody_has(monoxides, as_model, nothing):
    debye = as_model(point_charges(4.80320 * CHARGE), "theirs")
    with pytest.raises(InputError, match="likely the answers of model 'theirs' are in debye"):
        overall(monoxides, debye, nothing)
    assert "dipole_rmse" not in overall(monoxides, debye, nothing, dipole_key="mu")
    assert "dipole_rmse" not in overall(monoxides, as_model(EMT()), nothing)


def test_dipoles_are_judged_by_the_part_that_reads_them(monoxides):
    monoxides.write_text(monoxides.read_text().replace("REF_dipole", "REF_energies_dipole"))
    (note,) = read_labelled([monoxides], ReportSettings()).notes
    assert "no frame has 'REF_dipole'" in note and "--dipole_key REF_energies_dipole" in note
    chosen = {"dipole_key": "REF_energy"}  # one number
    with pytest.raises(InputError, match="'REF_energy' has 1 numbers, 3 expected"):
        read_labelled([monoxides], ReportSettings.create(chosen))
    read_labelled([monoxides], ReportSettings.create({**chosen, "parts": ("scans",)}))


def test_charges_of_atoms_that_a_model_may_have_learned_with(monoxides):
    assert read_labelled([monoxides], ReportSettings()).notes == ()
    frames = read(monoxides, index=":")
    for atoms in frames:
        atoms.arrays["REF_charges"] = np.array([CHARGE, -CHARGE])
    write(monoxides, frames, format="extxyz")
    (note,) = read_labelled([monoxides], ReportSettings()).notes
    assert "'REF_charges', of which no model is told" in note


def test_fitted_offsets_are_those_of_the_elements(compare):
    def shift(atoms, results):
        results["energy"] += np.sum(np.where(atoms.symbols == "Au", 3.0, -1.5))

    raw = analyse.overall(compare(Changed(EMT(), change=shift)))
    assert raw["energy_mae"].value > 100
    fitted = compare(Changed(EMT(), change=shift), fit_offset=True)
    assert fitted.offset == pytest.approx({"Cu": -1.5, "Au": 3.0}, abs=1e-6)
    assert analyse.overall(fitted)["energy_rmse"].value < 1e-3


def test_figure_of_the_slope_shows_hot_frames_beside_others():
    """... where data have several config_types."""
    entry = {"value": 0.97, "low": 0.96, "high": 0.98}
    model = {
        "values": {"force_slope": entry},
        "force_slope_by_magnitude": [{"mean_force": 500.0, "force_slope": entry}],
        "by_config_type": {"cold": {"force_slope": entry}, "hot": {"force_slope": entry}},
    }
    names = ["a", "b"]
    figure = force_slope(names, {"models": {"a": model, "b": model}})
    *_, last = figure.axes
    assert last.get_title() == "By config_type"
    assert [label.get_text() for label in last.get_xticklabels()] == ["cold", "hot"]
    single = {**model, "by_config_type": {}}
    assert len(force_slope(names, {"models": {"a": single, "b": single}}).axes) == 2
