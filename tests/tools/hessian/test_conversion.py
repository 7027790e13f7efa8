"""Finished vibrations, phonons and frames with Hessians, against finite differences."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import read, write
from ase.phonons import Phonons
from ase.vibrations import Vibrations, VibrationsData

from piwsl_plugins.tools.hessian.differences import hessian

from .conftest import rattled_crystal, rattled_ethanol
from .known_hessians import Harmonic, known_hessian


def reference(atoms, step):
    attached = atoms.copy()
    attached.calc = EMT()
    return hessian(attached, step)[0]


@pytest.fixture
def ethanol(tmp_path):
    atoms = rattled_ethanol(0)
    write(tmp_path / "ethanol.traj", atoms)
    atoms.calc = Harmonic()
    return atoms


@pytest.mark.parametrize(("nfree", "delta"), [(2, 0.02), (4, 0.01)])
def test_folder_of_vibrations(labelled, ethanol, tmp_path, nfree, delta):
    Vibrations(ethanol, name=str(tmp_path / "vib"), nfree=nfree, delta=delta).run()
    labels, printed = labelled(
        tmp_path / "ethanol.traj", "--from_vibrations", tmp_path / "vib", "--delta", delta
    )
    assert np.abs(labels[0].hessian - known_hessian()).max() < 1e-8
    assert np.array_equal(labels[0].positions, ethanol.positions)
    assert "1 with Hessian" in printed


@pytest.mark.parametrize("known", ["nothing", "by its calculator", "as REF_forces"])
def test_forces_of_the_undisplaced_structure_are_kept(labelled, refused, ethanol, tmp_path, known):
    Vibrations(ethanol, name=str(tmp_path / "vib"), delta=0.02).run()
    given, forces, energy = ethanol.copy(), ethanol.get_forces(), ethanol.get_potential_energy()
    if known == "by its calculator":
        given.calc = SinglePointCalculator(given, energy=energy, forces=forces)
    elif known == "as REF_forces":
        given.info["REF_energy"], given.arrays["REF_forces"] = energy, forces
    given.info["charge"] = 1
    write(tmp_path / "relaxed.xyz", given, format="extxyz")
    options = ("--from_vibrations", tmp_path / "vib", "--delta", 0.02, "--overwrite")
    labelled(tmp_path / "relaxed.xyz", *options, "--frames", tmp_path / "frames.xyz")
    frame = read(tmp_path / "frames.xyz")
    assert np.abs(frame.arrays["REF_forces"] - forces).max() < 1e-7
    assert np.abs(forces).max() > 1 and frame.info["charge"] == 1
    assert frame.info.get("REF_energy") == (None if known == "nothing" else pytest.approx(energy))
    if known == "as REF_forces":
        given.arrays["REF_forces"] = forces + 0.1
        write(tmp_path / "relaxed.xyz", given, format="extxyz")
        error = refused(tmp_path / "relaxed.xyz", *options)
        assert "differ by 0.1 eV/Å" in error and "another geometry" in error


def test_folders_and_files_keep_their_order(labelled, ethanol, tmp_path):
    small = rattled_crystal()
    small.calc = EMT()
    write(tmp_path / "both.traj", [ethanol, small])
    for name, atoms in (("a", ethanol), ("b", small)):
        Vibrations(atoms, name=str(tmp_path / name), delta=0.02).run()
    elsewhere = ethanol.copy()
    elsewhere.positions += 1.0
    VibrationsData.from_2d(elsewhere, 2 * known_hessian()).write(tmp_path / "data.json")
    paths = [tmp_path / name for name in ("a", "data.json", "b")]
    labels, _ = labelled(tmp_path / "both.traj", "--from_vibrations", *paths, "--delta", 0.02)
    assert np.abs(labels[0].hessian - known_hessian()).max() < 1e-8
    assert np.abs(labels[1].hessian - 2 * known_hessian()).max() < 1e-12
    assert np.abs(labels[2].hessian - reference(small, 0.02)).max() < 1e-8


def test_file_of_vibrations_needs_no_structures(labelled, ethanol, tmp_path):
    VibrationsData.from_2d(ethanol, known_hessian()).write(tmp_path / "data.json")
    labels, _ = labelled("--from_vibrations", tmp_path / "data.json")
    assert np.abs(labels[0].hessian - known_hessian()).max() < 1e-12
    assert np.array_equal(labels[0].numbers, ethanol.numbers)


@pytest.mark.parametrize("combined", [False, True])
def test_hessians_of_some_atoms_stay_theirs(labelled, ethanol, tmp_path, combined):
    write(tmp_path / "data.traj", ethanol)
    ethanol.set_constraint(FixAtoms([0, 4]))
    vibrations = Vibrations(ethanol, name=str(tmp_path / "vib"), delta=0.02)
    vibrations.run()
    vibrations.get_vibrations().write(tmp_path / "data.json")
    if combined:
        vibrations.combine()
    moved = np.array([1, 2, 3, 5, 6, 7, 8])
    rows = (3 * moved[:, None] + np.arange(3)).ravel()
    both = (tmp_path / "data.json", tmp_path / "vib")
    options = ("--from_vibrations", *both, "--delta", 0.02)
    labels, printed = labelled(tmp_path / "data.traj", *options)
    assert "2 with Hessian (2 of a part of the atoms)" in printed
    for label in labels:
        assert np.array_equal(label.atoms, moved)
        assert np.abs(label.hessian - known_hessian()[np.ix_(rows, rows)]).max() < 1e-8


def test_indices_in_any_order(labelled, ethanol, tmp_path):
    indices = [5, 2, 7]
    rows = (3 * np.array(indices)[:, None] + np.arange(3)).ravel()
    block = known_hessian()[np.ix_(rows, rows)]
    VibrationsData.from_2d(ethanol, block, indices).write(tmp_path / "data.json")
    (label,), _ = labelled("--from_vibrations", tmp_path / "data.json")
    rows = np.sort(rows)
    assert label.atoms.tolist() == [2, 5, 7]
    assert np.abs(label.hessian - known_hessian()[np.ix_(rows, rows)]).max() < 1e-12


def test_vibrations_that_are_incomplete_or_something_else(refused, ethanol, tmp_path):
    data = tmp_path / "ethanol.traj"
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "odd.json").write_text('{"a": 1}')
    assert "holds no forces" in refused("--from_vibrations", tmp_path / "other")
    (tmp_path / "empty" / "cache.0x+.json").touch()
    folder = ("--from_vibrations", tmp_path / "empty")
    assert "not a finished folder" in refused(data, *folder, "--delta", 0.01)
    assert "--delta" in refused(data, *folder)
    assert "--delta" in refused(*folder)
    assert "not a file of ASE's" in refused("--from_vibrations", tmp_path / "odd.json")
    assert "no such file" in refused("--from_vibrations", tmp_path / "absent.json")
    assert "2 folders, but 1" in refused(data, *folder, tmp_path / "empty", "--delta", 0.01)


def binary_cell():
    """Two different atoms in a skewed cell, off their symmetric places."""
    atoms = bulk("Cu", "fcc", a=3.7) * (2, 1, 1)
    atoms.symbols[1] = "Au"
    atoms.positions[1] += [0.1, -0.05, 0.08]
    return atoms


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("supercell", [(2, 3, 2), (3, 1, 4)])
def test_phonons_give_the_hessians_of_supercell_and_cell(labelled, tmp_path, supercell, centre):
    """The supercell is periodic and small enough that images overlap."""
    cell = binary_cell()
    write(tmp_path / "cell.traj", cell)
    phonons = Phonons(
        cell,
        EMT(),
        supercell=supercell,
        name=str(tmp_path / "phonon"),
        delta=0.01,
        center_refcell=centre,
    )
    phonons.run()
    labels, _ = labelled(
        tmp_path / "cell.traj",
        *("--from_phonons", tmp_path / "phonon", "--delta", 0.01, "--supercell", *supercell),
    )
    whole, folded = labels
    assert np.array_equal(whole.positions, (cell * supercell).positions)
    assert np.array_equal(whole.numbers, (cell * supercell).numbers)
    assert np.abs(whole.hessian).max() > 5
    assert np.abs(whole.hessian - reference(cell * supercell, 0.01)).max() < 1e-8
    # displacing one atom of the supercell or all its images: other terms of third order
    assert np.abs(folded.hessian - reference(cell, 0.01)).max() < 0.01
    assert np.array_equal(folded.positions, cell.positions)


def test_phonons_of_a_cell_of_one_atom_label_the_supercell_alone(labelled, tmp_path):
    cell = bulk("Cu")
    write(tmp_path / "cell.traj", cell * (1, 1, 2))
    name = str(tmp_path / "phonon")
    Phonons(cell * (1, 1, 2), EMT(), supercell=(1, 1, 1), name=name, delta=0.01).run()
    labels, _ = labelled(
        tmp_path / "cell.traj",
        *("--from_phonons", name, "--delta", 0.01, "--supercell", 1, 1, 1),
    )
    assert [len(label.numbers) for label in labels] == [2]


def test_phonons_that_do_not_fit(refused, tmp_path):
    cell = binary_cell()
    write(tmp_path / "cell.traj", cell)
    folder = ("--from_phonons", tmp_path / "phonon")
    Phonons(cell, EMT(), supercell=(2, 1, 1), name=str(folder[1])).run()
    data = tmp_path / "cell.traj"
    assert "--supercell" in refused(data, *folder, "--delta", 0.01)
    assert "--delta" in refused(data, *folder, "--supercell", 2, 1, 1)
    error = refused(data, *folder, "--delta", 0.01, "--supercell", 2, 2, 1)
    assert "not a finished folder" in error


@pytest.mark.parametrize("where", ["info", "arrays"])
def test_frames_that_carry_hessians(labelled, refused, tmp_path, where):
    frames = [rattled_ethanol(1), rattled_ethanol(0)]
    if where == "info":
        frames[1].info["REF_hessian"] = known_hessian().ravel()
    else:
        frames[1].arrays["REF_hessian"] = known_hessian().reshape(9, 81)
    write(tmp_path / "data.xyz", frames, format="extxyz")
    labels, _ = labelled(tmp_path / "data.xyz", "--from_frames")
    assert len(labels) == 1
    assert np.allclose(labels[0].hessian, known_hessian(), atol=1e-6)
    assert np.allclose(labels[0].positions, frames[1].positions, atol=1e-7)
    assert "exists" in refused(tmp_path / "data.xyz", "--from_frames")


def test_frames_without_hessians(refused, tmp_path):
    write(tmp_path / "data.xyz", rattled_ethanol(0), format="extxyz")
    assert "REF_hessian" in refused(tmp_path / "data.xyz", "--from_frames")
