"""What is made of phonopy's files as they lie about: folders, old versions, random sets, pairs."""

import re

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read

from piwsl_plugins.tools.hessian.differences import hessian

pytest.importorskip("phonopy", reason="its files are read through phonopy")
from phonopy.file_IO import write_FORCE_SETS

from .test_phonopy import changes, copper, forces, perfect, phonon_of

pytestmark = pytest.mark.slow


def block(name):
    """A block of phonopy's YAML."""
    return rf"(?m)^{name}:\n(?:[ -].*\n)+"


@pytest.fixture
def constants(tmp_path):
    """A file with compact force constants, and the rows of the Hessian by EMT's differences."""
    phonon = phonon_of(copper(), is_plusminus=True)
    phonon.produce_force_constants(calculate_full_force_constants=False)
    path = tmp_path / "phonopy.yaml"
    phonon.save(path, settings={"force_constants": True, "force_sets": False})
    atoms = perfect(phonon)
    atoms.calc = EMT()
    return path, hessian(atoms, 0.01)[0]


def test_units_as_old_versions_spell_them(labelled, constants):
    path, expected = constants
    text = path.read_text()
    for name, unit in (("length", "Angstrom"), ("force_constants", "eV/Angstrom^2")):
        text = re.sub(rf'(?m)^  {name}: ".*angstrom.*"$', f'  {name}: "{unit}"', text)
    path.write_text(text)
    assert text.count("Angstrom") == 2
    (label,), printed = labelled("--from_phonopy", path)
    assert np.abs(label.hessian - expected[:3]).max() < 1e-6
    assert "names no units" not in printed


def test_units_that_no_file_names(labelled, constants):
    path, expected = constants
    path.write_text(re.sub(block("physical_unit"), "", path.read_text()))
    (label,), printed = labelled("--from_phonopy", path)
    assert "phonopy.yaml names no units: taken as eV and Å" in printed
    assert np.abs(label.hessian - expected[:3]).max() < 1e-6


@pytest.mark.parametrize("kept", ["its lattice", "nothing"])
def test_no_primitive_matrix(labelled, tmp_path, kept):
    """Its primitive cell is the unit cell, or where the file has one, that one."""
    phonon = phonon_of(copper(), is_plusminus=True)
    n_rows = 4
    if kept == "nothing":
        from phonopy import Phonopy

        whole = Phonopy(phonon.unitcell, phonon.supercell_matrix, primitive_matrix="P")
        whole.dataset = phonon.dataset
        phonon = whole
    else:
        n_rows = 1
    phonon.produce_force_constants(calculate_full_force_constants=False)
    path = tmp_path / "phonopy.yaml"
    phonon.save(path, settings={"force_constants": True, "force_sets": False})
    text = re.sub(block("primitive_matrix"), "", path.read_text())
    if kept == "nothing":
        text = re.sub(block("primitive_cell"), "", text)
    path.write_text(text)
    (label,), _ = labelled("--from_phonopy", path)
    atoms = perfect(phonon)
    atoms.calc = EMT()
    rows = (3 * label.atoms[:, None] + np.arange(3)).ravel()
    assert len(label.atoms) == n_rows
    assert np.abs(label.hessian - hessian(atoms, 0.01)[0][rows]).max() < 1e-6


def test_another_order_of_the_supercell_is_refused(refused, constants):
    path, _ = constants
    text = path.read_text()
    supercell = re.search(block("supercell"), text)[0]
    first, second, *_ = re.findall(r"    coordinates: .*\n", supercell)
    other = supercell.replace(first, "@").replace(second, first).replace("@", second)
    path.write_text(text.replace(supercell, other))
    assert "another order" in refused("--from_phonopy", path)


def test_a_folder(labelled, refused, tmp_path):
    folder = tmp_path / "phonopy"
    folder.mkdir()
    assert "no file of phonopy" in refused("--from_phonopy", folder)
    phonon = phonon_of(copper())
    phonon.save(folder / "phonopy_disp.yaml", settings={"force_sets": False})
    error = refused("--from_phonopy", folder)
    assert "phonopy_disp.yaml: neither" in error and "phonopy-init -f" in error
    write_FORCE_SETS(phonon.dataset, filename=folder / "FORCE_SETS")
    frames = ("--frames", tmp_path / "crystal.xyz")
    (label,), printed = labelled("--from_phonopy", folder, *frames)
    assert np.abs(label.force_changes - changes(label)).max() < 1e-8
    assert f"read from {folder / 'phonopy_disp.yaml'}" in printed
    last = printed.splitlines()[-1]
    assert f"--piwsl_hessian_file={tmp_path / 'labels.npz'}" in last
    assert f"--piwsl_pool_file={tmp_path / 'crystal.xyz'}" in last and "pool_file: " in last
    last = labelled("--from_phonopy", folder, "--overwrite")[1].splitlines()[-1]
    assert "--frames" in last and "pool" in last


def test_several_crystals(labelled, refused, tmp_path):
    """Folders of several crystals give the labels of each, in one file, and one file of frames."""
    one, gold = tmp_path / "copper", tmp_path / "gold"
    for folder, atoms in ((one, copper()), (gold, bulk("Au", cubic=True))):
        folder.mkdir()
        phonon_of(atoms).save(folder / "phonopy_params.yaml")
    frames = ("--frames", tmp_path / "crystals.xyz")
    labels, printed = labelled("--from_phonopy", one, gold, *frames)
    assert [set(label.numbers) for label in labels] == [{29}, {79}]
    for label in labels:
        assert np.abs(label.force_changes - changes(label)).max() < 1e-8
    assert len(read(tmp_path / "crystals.xyz", ":")) == 2
    for folder in (one, gold):
        assert f"{folder}: read from {folder / 'phonopy_params.yaml'}; 1 displacements" in printed

    softer = tmp_path / "softer"
    softer.mkdir()
    phonon = phonon_of(copper())
    phonon.forces = 0.9 * phonon.forces
    phonon.save(softer / "phonopy_params.yaml")
    error = refused("--from_phonopy", one, softer, out="both.npz")
    assert "copper" in error and "softer" in error and "of one structure" in error
    assert not (tmp_path / "both.npz").exists()
    labels, printed = labelled("--from_phonopy", one, one, out="twice.npz")
    assert len(labels) == 2 and "one crystal" not in printed

    # phonopy orders the supercell's atoms by the images of the cell in which they stand
    moved = copper()
    moved.positions[1:] -= moved.cell.array[0]
    phonon = phonon_of(moved)
    phonon.forces = 0.9 * phonon.forces
    phonon.save(softer / "phonopy_params.yaml")
    _, printed = labelled("--from_phonopy", one, gold, softer, out="other.npz")
    assert f"{softer / 'phonopy_params.yaml'} has the cell and the elements of {one}" in printed
    assert printed.count("if they are one crystal") == 1


def test_a_folder_with_files_of_other_names(labelled, refused, tmp_path):
    folder = tmp_path / "phonopy"
    folder.mkdir()
    (folder / "band.yaml").write_text("nqpoint: 1\n")
    phonon_of(copper()).save(folder / "copper.yaml")
    (label,), _ = labelled("--from_phonopy", folder)
    assert label.displacements.shape == (1, 32, 3)
    phonon_of(copper()).save(folder / "other.yaml")
    assert "give one of copper.yaml, other.yaml" in refused("--from_phonopy", folder, out="b.npz")


def test_sets_of_another_calculation_are_refused(refused, tmp_path):
    phonon_of(copper()).save(tmp_path / "phonopy_disp.yaml", settings={"force_sets": False})
    other = phonon_of(copper(), is_plusminus=True)
    write_FORCE_SETS(other.dataset, filename=tmp_path / "FORCE_SETS")
    assert "others than its own" in refused("--from_phonopy", tmp_path / "phonopy_disp.yaml")


def random_set(path, distance, with_energies=True):
    phonon = phonon_of(copper())
    phonon.generate_displacements(distance=distance, number_of_snapshots=2, random_seed=1)
    cells = phonon.supercells_with_displacements
    phonon.forces = np.array([forces(cell) for cell in cells])
    if with_energies:
        phonon.supercell_energies = np.array([energy(cell) for cell in cells])
    phonon.save(path)
    return phonon


def energy(cell):
    atoms = Atoms(cell.symbols, cell.positions, cell=cell.cell, pbc=True)
    atoms.calc = EMT()
    return atoms.get_potential_energy()


def assert_displaced(frames, phonon):
    """Positions, energies and forces of EMT."""
    cells = phonon.supercells_with_displacements
    assert len(frames) == len(cells)
    for frame, cell in zip(frames, cells):
        assert np.abs(frame.positions - cell.positions).max() < 1e-7
        assert frame.info["REF_energy"] == pytest.approx(energy(cell), abs=1e-6)
        assert np.abs(frame.arrays["REF_forces"] - forces(cell)).max() < 1e-6


def test_random_sets_give_their_supercells(labelled, tmp_path):
    phonon = random_set(tmp_path / "phonopy_params.yaml", 0.03)
    frames = ("--frames", tmp_path / "crystal.xyz")
    (label,), printed = labelled("--from_phonopy", tmp_path / "phonopy_params.yaml", *frames)
    assert label.displacements.shape == (2, 32, 3)
    at_rest, *displaced = read(tmp_path / "crystal.xyz", ":")
    assert np.abs(at_rest.positions - label.positions).max() < 1e-7
    assert "REF_energy" not in at_rest.info and not at_rest.arrays["REF_forces"].any()
    assert_displaced(displaced, phonon)
    assert "3 structures, 2 with REF_energy" in printed


def test_large_random_displacements_are_no_probes(refused, tmp_path, capsys):
    from piwsl_plugins.tools.command import main

    phonon = random_set(tmp_path / "phonopy_params.yaml", 0.3)
    frames = ("--frames", tmp_path / "crystal.xyz")
    error = refused("--from_phonopy", tmp_path, *frames)
    assert "up to 0.3 Å" in error and "no probes" in error and "without --out" in error
    assert not (tmp_path / "crystal.xyz").exists()
    arguments = ["hessian", "--from_phonopy", str(tmp_path), *map(str, frames)]
    assert main(arguments) == 0
    assert "2 structures, 2 with REF_energy" in capsys.readouterr().out
    assert_displaced(read(tmp_path / "crystal.xyz", ":"), phonon)
    assert not (tmp_path / "labels.npz").exists()


def test_frames_alone_are_of_random_sets(tmp_path, capsys):
    from piwsl_plugins.tools.command import main

    phonon_of(copper()).save(tmp_path / "phonopy_params.yaml")
    arguments = ["hessian", "--from_phonopy", str(tmp_path), "--frames", str(tmp_path / "x.xyz")]
    assert main(arguments) == 2
    assert "give --out for labels" in capsys.readouterr().err


@pytest.mark.parametrize("unit", ["eV", "Ry"])
def test_pairs_of_phono3py(labelled, refused, tmp_path, unit):
    """One atom, and two of them, displaced; one pair is beyond the cutoff. Also in QE's units."""
    from ase.units import Bohr, Ry

    length, force = (1.0, 1.0) if unit == "eV" else (Bohr, Ry / Bohr)
    atoms = perfect(phonon_of(copper(), cells=(2, 1, 1)))
    first, second = np.zeros((8, 3)), np.zeros((8, 3))
    first[0, 0], second[3] = 0.02, [0.0, 0.01, -0.01]

    def entry(displacement, atom, values, indent):
        """In the units of the file."""
        pad = " " * indent
        lines = [
            f"atom: {atom + 1}",
            "displacement:",
            f"  {(displacement[atom] / length).tolist()}",
        ]
        if values is not None:
            displaced = atoms.copy()
            displaced.positions += values
            displaced.calc = EMT()
            lines += ["forces:"]
            lines += [f"- {row.tolist()}" for row in displaced.get_forces() / force]
        return f"{pad}- " + f"\n{pad}  ".join(lines) + "\n"

    def write(with_forces):
        shown = (lambda values: values) if with_forces else (lambda values: None)
        units = {"eV": ("angstrom", "eV/angstrom^2"), "Ry": ("au", "Ry/au^2")}[unit]
        cell = copper()
        points = "".join(
            f"  - symbol: Cu\n    coordinates: {row.tolist()}\n"
            for row in cell.get_scaled_positions()
        )
        lattice = "".join(f"  - {row.tolist()}\n" for row in cell.cell / length)
        (tmp_path / "phono3py_params.yaml").write_text(
            'phono3py:\n  version: "3.0.0"\n'
            + ("" if unit == "eV" else '  calculator: "qe"\n')
            + f'physical_unit:\n  length: "{units[0]}"\n  force_constants: "{units[1]}"\n'
            + "supercell_matrix:\n- [ 2, 0, 0 ]\n- [ 0, 1, 0 ]\n- [ 0, 0, 1 ]\n"
            + f"unit_cell:\n  lattice:\n{lattice}  points:\n{points}"
            + "displacement_pairs:\n"
            + entry(first, 0, shown(first), 0)
            + "  paired_with:\n"
            + entry(second, 3, shown(first + second), 2)
            + entry(second, 3, None, 2)
        )

    write(with_forces=False)
    assert "phono3py" in refused("--from_phonopy", tmp_path)
    write(with_forces=True)
    (label,), printed = labelled("--from_phonopy", tmp_path)
    assert label.displacements.shape == (2, 8, 3)
    assert np.abs(label.displacements - [first, first + second]).max() < 1e-7
    assert np.abs(label.force_changes - changes(label)).max() < 1e-5
    assert "2 displacements of phonopy" in printed


def test_two_supercells_of_phono3py(labelled, tmp_path):
    """A second, larger one for the force constants of second order."""
    small, large = phonon_of(copper(), cells=(1, 1, 1)), phonon_of(copper(), cells=(2, 2, 2))
    small.save(tmp_path / "a.yaml")
    large.save(tmp_path / "b.yaml")
    text = (tmp_path / "a.yaml").read_text().replace("phonopy:", "phono3py:", 1)
    second = re.search(block("displacements"), (tmp_path / "b.yaml").read_text())[0]
    matrix = "phonon_supercell_matrix:\n- [2, 0, 0]\n- [0, 2, 0]\n- [0, 0, 2]\n"
    path = tmp_path / "phono3py_params.yaml"
    path.write_text(text + "\n" + matrix + "phonon_" + second)
    labels, _ = labelled("--from_phonopy", path)
    assert [len(label.numbers) for label in labels] == [4, 32]
    for label in labels:
        assert np.abs(label.force_changes - changes(label)).max() < 1e-8


def test_forces_of_phono3py_beside_the_file(labelled, refused, tmp_path):
    """FORCES_FC3 names the displaced atoms; of a pair beyond the cutoff the forces are 0."""
    phonon = phonon_of(copper(), cells=(2, 1, 1))
    atoms, first, both = perfect(phonon), np.zeros((8, 3)), np.zeros((8, 3))
    first[0, 0] = both[0, 0] = 0.02
    both[3] = [0.0, 0.01, -0.01]
    phonon.save(tmp_path / "a.yaml", settings={"force_sets": False})
    text = (tmp_path / "a.yaml").read_text().replace("phonopy:", "phono3py:", 1)
    text = re.sub(block("displacements"), "", text)
    pairs = "displacement_pairs:\n- atom: 1\n  displacement: {}\n  paired_with: []\n"
    path = tmp_path / "phono3py_disp.yaml"
    path.write_text(text + "\n" + pairs.format([0.02, 0, 0]))
    assert "FORCES_FC3 beside it holds" in refused("--from_phonopy", path)
    lines = []
    for number, displacement in enumerate((first, both, both)):
        displaced = atoms.copy()
        displaced.positions += displacement
        displaced.calc = EMT()
        known = displaced.get_forces() if number < 2 else np.zeros((8, 3))
        lines += [f"# File: {number + 1}", "# 1 0.02 0.0 0.0"]
        lines += ["# 4 0.0 0.01 -0.01"] * (number > 0)
        lines += [" ".join(f"{x:.10f}" for x in row) for row in known]
    (tmp_path / "FORCES_FC3").write_text("\n".join(lines) + "\n")
    (label,), _ = labelled("--from_phonopy", path)
    assert np.abs(label.displacements - [first, both]).max() < 1e-12
    assert np.abs(label.force_changes - changes(label)).max() < 1e-8
    path.write_text(text + "\n" + pairs.format([0.03, 0, 0]))
    assert "other displacements than its own" in refused("--from_phonopy", path, out="b.npz")
