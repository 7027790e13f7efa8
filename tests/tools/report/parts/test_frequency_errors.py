"""Hessians and frequencies of models against those of Hessian labels."""

import dataclasses
import json

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import write

pytest.importorskip("torch")

from piwsl_plugins.errors import InputError
from piwsl_plugins.labels.hessian_labels import HESSIAN_KEY, HessianLabel, write_labels
from piwsl_plugins.tools.command import main
from piwsl_plugins.tools.hessian.differences import hessian
from piwsl_plugins.tools.report.arguments import build_parser, settings_from
from piwsl_plugins.tools.report.parts.frequency_errors.analyse import modes_of, ratios
from piwsl_plugins.tools.report.parts.frequency_errors.measure import second_derivatives
from piwsl_plugins.tools.report.parts.frequency_errors.reference import (
    LabelledHessian,
    read_hessians,
)

from ..known_calculators import Changed, Quadratic, double_well, ethanol, springs, stiff_hessian

#: cm⁻¹ of √(eV/Å²/u), from the constants themselves
WAVENUMBER = np.sqrt(units._e * 1e20 / units._amu) / (2 * np.pi * units._c * 100)
HF, CO2 = Atoms("HF", [[0, 0, 0], [0, 0, 0.92]]), molecule("CO2")
MODELS = ["--model", "exact=known_calculators:emt", "--model", "soft=known_calculators:soft_emt"]


@pytest.fixture
def compare(as_model, nothing):
    """A model on a structure whose label comes from another calculator."""

    def run(atoms, reference, model):
        atoms = atoms.copy()
        atoms.calc = reference
        labelled = LabelledHessian(atoms, hessian(atoms, 0.005)[0], 0, "label 0")
        return modes_of(second_derivatives(as_model(model), labelled, nothing))

    return run


def test_a_diatomic_has_one_known_frequency(compare):
    mass_h, mass_f = HF.get_masses()
    expected = WAVENUMBER * np.sqrt(60 * (1 / mass_h + 1 / mass_f))
    reference, stiffer = (springs([[0, 1]], k, 0.92) for k in (60.0, 60 * 1.21))
    found = compare(HF, reference, stiffer)
    assert found.reference == pytest.approx([expected], rel=1e-5)
    assert found.model == pytest.approx([1.1 * expected], rel=1e-5)
    # half a quantum; at 300 K nothing is excited
    half = 0.5 * 0.1 * expected * 1000 * units.invcm
    assert found.zero_point_error == pytest.approx(half, rel=1e-4)
    assert found.free_energy_error == pytest.approx(half, rel=1e-4)


def test_linear_molecules_turn_about_two_axes(compare):
    constant, length = 80.0, CO2.get_distance(0, 1)
    calculator = springs([[0, 1], [0, 2]], constant, length)
    found = compare(CO2, calculator, calculator)
    carbon, oxygen = CO2.get_masses()[:2]
    stretches = WAVENUMBER * np.sqrt(constant * np.array([1 / oxygen, 1 / oxygen + 2 / carbon]))
    # springs do not resist bending, but for the size of the step
    assert found.reference[:2] == pytest.approx([0, 0], abs=10)
    assert found.reference[2:] == pytest.approx(stretches, rel=1e-4)


def test_frequencies_are_those_of_ase(compare):
    from ase.vibrations import VibrationsData

    atoms = bulk("Cu", cubic=True)
    atoms.symbols[0] = "Au"
    found = compare(atoms, EMT(), EMT())
    atoms.calc = EMT()
    data = VibrationsData.from_2d(atoms, hessian(atoms, 0.005)[0])
    assert len(found.reference) == 3 * 4 - 3
    assert found.reference == pytest.approx(data.get_frequencies().real[3:], abs=0.1)


def test_a_model_is_exact_against_its_own_labels(compare):
    atoms, matrix = ethanol(), stiff_hessian(9)
    exact = Quadratic(atoms.positions, matrix)
    values = ratios([compare(atoms, exact, exact)])
    assert {name: ratio.value for name, ratio in values.items() if name != "frequency_slope"} == {
        "hessian_rmse": 0,
        "frequency_mae": 0,
        "highest_frequency_mae": 0,
    }
    assert values["frequency_slope"].value == 1


def test_a_scaled_hessian_scales_frequencies_by_its_root(compare):
    atoms, matrix = ethanol(), stiff_hessian(9)
    exact, scaled = Quadratic(atoms.positions, matrix), Quadratic(atoms.positions, 1.21 * matrix)
    found = compare(atoms, exact, scaled)
    values = ratios([found])
    assert found.model == pytest.approx(1.1 * found.reference)
    assert values["frequency_slope"].value == pytest.approx(1.1)
    assert values["frequency_mae"].value == pytest.approx(0.1 * found.reference.mean())
    assert values["highest_frequency_mae"].value == pytest.approx(0.1 * found.reference[-1])
    size = np.sqrt(np.mean(matrix**2))
    assert values["hessian_rmse"].value == pytest.approx(0.21 * size)


def test_orientation_plays_no_part(compare):
    pairs, lengths = [[0, 1], [0, 2], [1, 2]], np.array([0.97, 0.97, 1.53])
    reference, model = (springs(pairs, k * np.array([50, 50, 10.0]), lengths) for k in (1, 0.8))
    water, turned = molecule("H2O"), molecule("H2O")
    turned.rotate(50, (1, 2, 3))
    turned.translate([1.0, -2.0, 3.0])
    first, second = (compare(atoms, reference, model) for atoms in (water, turned))
    assert len(first.reference) == 3
    for name in ("reference", "model", "squared_error"):
        assert getattr(second, name) == pytest.approx(getattr(first, name), rel=1e-4)


def test_imaginary_modes_are_counted_at_a_saddle(compare):
    atoms = Atoms("FHF", [[0, 0, -1.1], [0, 0, 0], [0, 0, 1.1]])
    reference = double_well(0.3, 30.0, 1.1)
    right = compare(atoms, reference, double_well(0.2, 30.0, 1.1))
    assert (right.n_imaginary, right.n_imaginary_reference) == (1, 1)
    # the imaginary mode has no zero-point energy: only the stretch differs, and it does not
    assert right.zero_point_error == pytest.approx(0, abs=0.01)
    wrong = compare(atoms, reference, springs([[0, 1], [1, 2]], 30.0, 1.1))
    assert (wrong.n_imaginary, wrong.n_imaginary_reference) == (0, 1)
    atoms.positions[1, 2] = 0.2
    minimum = compare(atoms, reference, reference)
    assert (minimum.n_imaginary_reference, minimum.zero_point_error) == (0, 0)


def test_energies_need_a_structure_that_is_stationary(compare):
    stretched = HF.copy()
    stretched.positions[1, 2] += 0.02
    calculator = springs([[0, 1]], 60.0, 0.92)
    found = compare(stretched, calculator, calculator)
    # a force of 1.2 eV/Å, seen from the Hessian alone
    assert (found.n_imaginary_reference, found.zero_point_error) == (0, None)
    assert "zero_point_mae" not in ratios([found])


def write_alloy_labels(path, alloy):
    labels = []
    for atoms in alloy[3:]:
        atoms.calc = EMT()
        atoms.info[HESSIAN_KEY] = hessian(atoms, 0.005)[0]
        labels.append(
            HessianLabel(
                atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, atoms.info[HESSIAN_KEY]
            )
        )
        atoms.calc = None
    write_labels(path, labels, "EMT")
    return labels


@pytest.mark.slow
def test_the_part_in_the_report(alloy, alloy_file, tmp_path, capsys):
    write_alloy_labels(tmp_path / "hessians.npz", alloy)
    out = tmp_path / "report"
    given = ["report", *MODELS, "--data", str(alloy_file), "--out", str(out), "--quick"]
    given += ["--hessians", str(tmp_path / "hessians.npz"), "--parts", "vibrations"]
    assert main(given) == 0
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    exact, soft = (summary["models"][name] for name in ("exact", "soft"))
    assert exact["values"]["frequency_mae"]["value"] == pytest.approx(0, abs=0.05)
    slope = soft["values"]["frequency_slope"]
    assert slope["value"] == pytest.approx(np.sqrt(0.9), abs=1e-4)
    assert slope["high"] < 1
    assert soft["values"]["imaginary_right"]["value"] == 1
    assert soft["differences"]["frequency_mae"]["low"] > 0
    # --quick takes four of the five
    assert [entry["label"] for entry in soft["vibrations"]] == [0, 1, 3, 4]
    texts = [f["text"] for f in summary["findings"] if f["model"] == "soft"]
    assert any("frequencies are too low" in text for text in texts)
    assert (out / "figures" / "vibrations.pdf").is_file()
    assert "Frequency MAE | cm⁻¹" in (out / "summary.md").read_text(encoding="utf-8")
    capsys.readouterr()
    main(given)
    assert "8 finished parts" in capsys.readouterr().out
    write(tmp_path / "hessians.xyz", alloy[3:], format="extxyz")
    assert main([*given[:-3], str(tmp_path / "hessians.xyz"), *given[-2:]]) == 0


def test_hessians_add_the_part():
    given = ["--model", "x=GFN2-xTB", "--data", "x.xyz", "--out", "out"]
    assert "vibrations" not in settings_from(build_parser().parse_args(given)).parts
    given += ["--hessians", "h.npz"]
    assert "vibrations" in settings_from(build_parser().parse_args(given)).parts
    with pytest.raises(InputError, match=r"--parts=labels leaves out the vib.*--hessians"):
        settings_from(build_parser().parse_args([*given, "--parts", "labels"]))


def test_a_quick_report_has_no_dynamics_that_are_too_short_to_tell():
    given = ["--model", "x=GFN2-xTB", "--data", "x.xyz", "--out", "out", "--quick"]
    for more in ([], ["--hessians", "h.npz"]):
        parts = settings_from(build_parser().parse_args([*given, *more])).parts
        assert ("dynamics" in parts, "vibrations" in parts) == (False, bool(more))


def test_labels_with_a_cell_are_periodic(alloy, tmp_path):
    labels = write_alloy_labels(tmp_path / "hessians.npz", alloy)
    silent = [dataclasses.replace(label, pbc=None) for label in labels]
    probes = dataclasses.replace(
        silent[0], hessian=None, displacements=np.ones((1, 8, 3)), force_changes=np.ones((1, 8, 3))
    )
    write_labels(tmp_path / "mixed.npz", [probes, *silent], "EMT")
    found = read_hessians(tmp_path / "mixed.npz", 0)
    assert [labelled.number for labelled in found] == [1, 2, 3, 4, 5]
    assert all(labelled.atoms.pbc.all() for labelled in found)


def test_files_that_cannot_be_used(alloy, alloy_file, tmp_path, capsys):
    label = write_alloy_labels(tmp_path / "hessians.npz", alloy)[0]
    n_atoms = len(label.numbers)
    probes = {"displacements": np.ones((1, n_atoms, 3)), "curvatures": np.ones(1)}
    write_labels(
        tmp_path / "probes.npz", [dataclasses.replace(label, hessian=None, **probes)], "EMT"
    )
    part = dataclasses.replace(label, hessian=label.hessian[:6, :6], atoms=np.array([0, 1]))
    write_labels(tmp_path / "part.npz", [part], "EMT")
    uranium = dataclasses.replace(label, numbers=np.full(n_atoms, 92))
    write_labels(tmp_path / "uranium.npz", [uranium], "EMT")
    for given, exit_code, words in (
        (["--hessians", "probes.npz"], 2, "none of its 1 labels is a whole Hessian"),
        (["--hessians", "part.npz"], 2, "none of its 1 labels is a whole Hessian"),
        (["--hessians", "alloy.xyz"], 2, HESSIAN_KEY),
        (["--hessians", "absent.npz"], 2, "no such file"),
        ([], 2, "--hessians"),
        # EMT does not say which elements it knows until it is used
        (["--hessians", "uranium.npz"], 1, "uranium.npz label 0"),
    ):
        given = [str(tmp_path / word) if "." in word else word for word in given]
        given += [*MODELS[:2], "--data", str(alloy_file), "--out", str(tmp_path / "out")]
        assert main(["report", *given, "--parts", "vibrations"]) == exit_code
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1


def test_forces_that_are_not_finite_name_model_and_label(as_model, nothing):
    def spoil(atoms, results):
        results["forces"][0, 0] = np.nan

    labelled = LabelledHessian(HF, np.eye(6), 7, "h.npz label 7")
    model = as_model(Changed(springs([[0, 1]], 60.0, 0.92), change=spoil), "bad")
    with pytest.raises(Exception, match=r"'bad'.*h.npz label 7.*not finite"):
        second_derivatives(model, labelled, nothing)
