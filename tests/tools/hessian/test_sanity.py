"""Hessians that cannot be right: size, symmetry, units, translations."""

import re

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write
from ase.vibrations import VibrationsData

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.frames.reading import structure_of
from piwsl_plugins.labels.hessian_checks import UNITS, translational_residue, unit_problem_of
from piwsl_plugins.labels.hessian_labels import HessianLabel
from piwsl_plugins.labels.hessian_matching import matched_labels
from piwsl_plugins.options.settings import Hessian
from piwsl_plugins.tools.hessian.sanity import problem_of

from .conftest import rattled_ethanol
from .known_hessians import known_hessian


def label(hessian, atoms=None, rows=None):
    atoms = rattled_ethanol(0) if atoms is None else atoms
    return HessianLabel(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, hessian, rows)


def diatomic(symbols, length, constant):
    """The Hessian of one spring along x; its largest eigenvalue is twice the force constant."""
    line = np.zeros(6)
    line[[0, 3]] = 1, -1
    atoms = Atoms(symbols, [[0, 0, 0], [length, 0, 0]])
    return label(constant * np.outer(line, line), atoms)


def test_a_sound_hessian_passes():
    assert problem_of(label(known_hessian())) is None


def test_structures_that_cannot_be_right():
    atoms = rattled_ethanol(0)
    atoms.positions[4] = atoms.positions[2]
    assert "atoms 2 and 4 are at the same place" in problem_of(label(known_hessian(), atoms))


def test_hessians_of_another_size():
    assert "(24, 24)" in problem_of(label(known_hessian(24)))
    rows = np.array([0, 2])
    assert problem_of(label(known_hessian(6), rows=rows)) is None
    assert problem_of(label(known_hessian()[[0, 1, 2, 6, 7, 8]], rows=rows)) is None
    assert "2 of 9 atoms" in problem_of(label(known_hessian(9), rows=rows))


def test_hessians_that_are_not_finite_or_not_symmetric():
    for value, words in ((np.nan, "finite"), (5.0, "not symmetric")):
        hessian = known_hessian()
        hessian[3, 7] += value
        assert words in problem_of(label(hessian))
    hessian = known_hessian()
    hessian[3, 7] += 0.01 * np.abs(hessian).max()
    assert problem_of(label(hessian)) is None


@pytest.mark.parametrize("unit", UNITS)
def test_units_are_recognised_by_the_stretches(unit):
    problem = problem_of(label(known_hessian() / UNITS[unit]))
    assert f"if it is in {unit}, multiply it by {UNITS[unit]:g}" in problem
    assert sum(other in problem for other in UNITS) == 1


@pytest.mark.parametrize(
    ("symbols", "length", "constant"),
    [("N2", 1.098, 143.0), ("CO", 1.128, 119.0), ("H2", 0.741, 35.9), ("I2", 2.666, 10.7)],
)
def test_force_constants_of_diatomic_molecules_pass(symbols, length, constant):
    """Spectroscopic force constants in eV/Å², from the stiffest bond to one of the softest."""
    found = diatomic(symbols, length, constant)
    assert problem_of(found) is None
    assert unit_problem_of(diatomic(symbols, length, constant / 97.1736)) is not None


def test_metals_and_distant_atoms_are_not_judged_by_covalent_bonds():
    sodium = bulk("Na", cubic=True)
    assert problem_of(label(np.eye(6) * 1.5, sodium)) is None
    assert problem_of(diatomic("Ar2", 3.8, 0.05)) is None
    assert problem_of(diatomic("N2", 4.0, 0.05)) is None


def test_bonds_to_atoms_without_rows_do_not_count():
    oxygen = rattled_ethanol(0)
    rows = np.flatnonzero(oxygen.numbers == 1)[:3]
    assert problem_of(label(0.5 * np.eye(9), rows=rows)) is None


def test_block_and_translational_residue_of_rows():
    hessian = known_hessian()
    rows = np.array([1, 4])
    chosen = np.array([3, 4, 5, 12, 13, 14])
    part = label(hessian[chosen], rows=rows)
    assert np.array_equal(part.block, hessian[np.ix_(chosen, chosen)])
    assert translational_residue(label(hessian[np.ix_(chosen, chosen)], rows=rows)) is None
    assert translational_residue(diatomic("N2", 1.1, 143.0)) == 0
    hessian = np.zeros((27, 27))
    hessian[4, 4], hessian[4, 7] = 3.0, -1.0
    assert translational_residue(label(hessian)) == 2.0


def test_conversions_are_refused_and_write_nothing(refused, tmp_path):
    atoms = rattled_ethanol(0)
    path = tmp_path / "data.json"
    VibrationsData.from_2d(atoms, known_hessian() / 97.1736).write(path)
    assert "hartree/bohr²" in refused("--from_vibrations", path)
    skewed = known_hessian() + np.triu(known_hessian(), 1)
    VibrationsData.from_2d(atoms, skewed).write(path)
    assert f"{path}: the Hessian is not symmetric" in refused("--from_vibrations", path)
    atoms.info["REF_hessian"] = known_hessian() / 0.0433641
    write(tmp_path / "data.xyz", atoms, format="extxyz")
    assert "multiply it by 0.0433641" in refused(tmp_path / "data.xyz", "--from_frames")
    assert not (tmp_path / "labels.npz").exists()


@pytest.mark.parametrize("kind", ["moving all atoms together", "not symmetric"])
def test_conversion_and_training_judge_alike(labelled, refused, tmp_path, kind):
    """Noise that one accepts with an option, the other accepts with the same."""
    atoms, hessian = rattled_ethanol(0), known_hessian()
    noise = 0.08 * np.abs(hessian).max()
    hessian[4, 7] += noise
    if kind == "moving all atoms together":
        hessian[7, 4] += noise
    atoms.info["REF_hessian"] = hessian
    write(tmp_path / "data.xyz", atoms, format="extxyz")
    geometries = [structure_of(atoms)]

    def train(path, **options):
        return matched_labels(
            Hessian(hessian_file=str(path), **options), "hessian_file", geometries
        )

    error = refused(tmp_path / "data.xyz", "--from_frames")
    assert kind in error and "hessian_tolerance 0." in error
    with pytest.raises(SettingsError, match=f"label 0 .*{kind}.*hessian_tolerance 0"):
        train(tmp_path / "data.xyz")
    needed = re.search(r"hessian_tolerance (\S+) accepts", error)[1]
    option = ("--hessian_tolerance", needed)
    (label,), printed = labelled(tmp_path / "data.xyz", "--from_frames", *option)
    assert f"--piwsl_hessian_tolerance={needed}" in printed.splitlines()[-1]
    assert "which training refuses" not in printed
    if kind != "not symmetric":  # that is mended in what is written
        assert f"which training accepts with hessian_tolerance {needed}: " in printed
    assert np.array_equal(label.hessian, label.hessian.T)
    assert len(train(tmp_path / "labels.npz", hessian_tolerance=needed)[0]) == 1
    assert len(train(tmp_path / "data.xyz", hessian_tolerance=needed)[0]) == 1
    error = refused(tmp_path / "data.xyz", "--from_frames", "--hessian_tolerance", "0.5", out="b")
    assert error.startswith("piwsl hessian: --hessian_tolerance=0.5: allowed is a number above 0")


def test_what_no_noise_explains_has_no_option(refused, tmp_path):
    atoms = rattled_ethanol(0)
    atoms.info["REF_hessian"] = np.roll(known_hessian(), 3, axis=1)
    write(tmp_path / "data.xyz", atoms, format="extxyz")
    error = refused(tmp_path / "data.xyz", "--from_frames")
    assert "not symmetric" in error and "hessian_tolerance" not in error


def test_units_are_those_of_a_file(labelled, refused, tmp_path):
    """One strange Hessian of several passes with a warning, as it does in training."""
    frames = [rattled_ethanol(0) for _ in range(3)]
    for number, factor in enumerate((1, 97.1736, 1)):
        frames[number].positions += number
        frames[number].info["REF_hessian"] = known_hessian() / factor
    write(tmp_path / "data.xyz", frames, format="extxyz")
    assert "WARNING, 1 structures" in labelled(tmp_path / "data.xyz", "--from_frames")[1]
    frames[0].info["REF_hessian"] = known_hessian() / 97.1736
    write(tmp_path / "data.xyz", frames, format="extxyz")
    assert "hartree/bohr²" in refused(tmp_path / "data.xyz", "--from_frames", out="b.npz")


def test_own_differences_in_other_units_are_warned_of(labelled, tmp_path):
    write(tmp_path / "data.xyz", rattled_ethanol(0), format="extxyz")
    calculator = "known_hessians:in_atomic_units"
    labels, printed = labelled(tmp_path / "data.xyz", "--calculator", calculator)
    assert "WARNING, 1 structures" in printed and "hartree/bohr²" in printed
    assert np.abs(97.1736 * labels[0].hessian - known_hessian()).max() < 1e-6
    assert "largest sum of a row over the atoms" in printed
