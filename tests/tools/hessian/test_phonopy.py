"""phonopy's sets and force constants, made by phonopy itself with EMT."""

import importlib.util

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read
from ase.units import Bohr, Ry

from piwsl_plugins.tools.hessian.differences import hessian

phonopy = pytest.importorskip("phonopy", reason="its files are read through phonopy")
from phonopy.file_IO import write_FORCE_CONSTANTS, write_FORCE_SETS  # noqa: E402
from phonopy.structure.atoms import PhonopyAtoms  # noqa: E402

pytestmark = pytest.mark.slow


def forces(cell, length=1.0):
    atoms = Atoms(cell.symbols, cell.positions * length, cell=cell.cell * length, pbc=True)
    atoms.calc = EMT()
    return atoms.get_forces()


def copper():
    return bulk("Cu", cubic=True)


def off_centre():
    """Two atoms of which no symmetry holds either in place."""
    atoms = bulk("Cu", "fcc", a=3.7) * (2, 1, 1)
    atoms.symbols[1] = "Au"
    atoms.positions[1] += [0.1, -0.05, 0.08]
    return atoms


def phonon_of(atoms, calculator=None, length=1.0, force=1.0, cells=(2, 2, 2), **displacements):
    """With EMT's forces, in units of ``length`` Å and ``force`` eV/Å."""
    cell = PhonopyAtoms(
        symbols=atoms.symbols, cell=atoms.cell.array / length, positions=atoms.positions / length
    )
    phonon = phonopy.Phonopy(
        cell,
        np.diag(cells),
        primitive_matrix="F" if len(atoms) == 4 else "P",
        calculator=calculator,
    )
    phonon.generate_displacements(distance=0.01 / length, **displacements)
    sets = [forces(cell, length) / force for cell in phonon.supercells_with_displacements]
    phonon.forces = np.array(sets)
    return phonon


def perfect(phonon):
    cell = phonon.supercell
    return Atoms(cell.symbols, cell.positions, cell=cell.cell, pbc=True)


def changes(label):
    """F(r+δ) − F(r) of EMT."""
    atoms = Atoms(label.numbers, label.positions, cell=label.cell, pbc=True)
    displaced = []
    for displacement in [0.0, *label.displacements]:
        atoms.positions = label.positions + displacement
        displaced.append(forces(atoms))
    return np.array(displaced[1:]) - displaced[0]


@pytest.mark.parametrize("where", ["in the file", "beside it"])
def test_sets_become_probes(labelled, tmp_path, monkeypatch, where):
    phonon = phonon_of(copper())
    path = tmp_path / "phonopy_disp.yaml"
    phonon.save(path, settings={"force_sets": where == "in the file"})
    if where == "beside it":
        write_FORCE_SETS(phonon.dataset, filename=tmp_path / "FORCE_SETS")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    frames = ("--frames", tmp_path / "crystal.xyz")
    (label,), printed = labelled("--from_phonopy", path, *frames)
    assert label.hessian is None and label.displacements.shape == (1, 32, 3)
    assert np.linalg.norm(label.displacements) == pytest.approx(0.01)
    assert np.array_equal(label.positions, phonon.supercell.positions)
    assert np.abs(label.force_changes - changes(label)).max() < 1e-8
    assert "1 displacements of phonopy; no forces in the perfect supercell by symmetry" in printed
    frame = read(tmp_path / "crystal.xyz")
    assert np.abs(frame.positions - label.positions).max() < 1e-7 and frame.pbc.all()
    assert "REF_energy" not in frame.info and not frame.arrays["REF_forces"].any()
    assert "1 with REF_forces (eV/Å); without energies they may be a pool" in printed
    assert "force changes in eV/Å" in printed


def test_random_displacements_of_all_atoms(labelled, tmp_path):
    phonon = phonon_of(copper(), number_of_snapshots=3, random_seed=1)
    phonon.save(tmp_path / "phonopy_params.yaml")
    (label,), _ = labelled("--from_phonopy", tmp_path / "phonopy_params.yaml")
    assert label.displacements.shape == (3, 32, 3)
    assert np.abs(label.force_changes - changes(label)).max() < 1e-8


def test_forces_of_the_perfect_supercell(labelled, refused, tmp_path):
    """Opposite displacements give them; without such they must be 0, as reciprocity tells."""
    path = tmp_path / "phonopy_params.yaml"
    phonon = phonon_of(off_centre(), is_plusminus=True)
    residual = np.abs(forces(perfect(phonon))).max()
    assert residual > 0.1
    phonon.save(path)
    frames = ("--frames", tmp_path / "crystal.xyz")
    (label,), printed = labelled("--from_phonopy", path, *frames)
    at_rest = read(tmp_path / "crystal.xyz").arrays["REF_forces"]
    assert np.abs(at_rest - forces(perfect(phonon))).max() < 1e-3
    assert f"up to {residual:.2g} eV/Å, subtracted" in printed
    assert np.abs(label.force_changes - changes(label)).max() < 1e-3
    assert np.abs(label.force_changes).max() > 0.02
    phonon = phonon_of(off_centre(), is_plusminus=False)
    phonon.save(path)
    error = refused("--from_phonopy", path, *frames, "--overwrite")
    assert "forces in the perfect supercell (relax it" in error and "largest curvature" in error
    phonon.forces = phonon.forces - forces(perfect(phonon))
    phonon.save(path)
    (label,), printed = labelled("--from_phonopy", path, *frames, "--overwrite")
    assert np.abs(label.force_changes - changes(label)).max() < 1e-8
    assert "REF_forces" not in read(tmp_path / "crystal.xyz").arrays
    assert "taken as 0" in printed and "phonopy-init --fz" in printed


@pytest.mark.parametrize(("compact", "where"), [(True, "in the file"), (False, "beside it")])
def test_force_constants_become_rows_of_the_primitive_cell(labelled, tmp_path, compact, where):
    phonon = phonon_of(copper(), is_plusminus=True)
    phonon.produce_force_constants(calculate_full_force_constants=not compact)
    inside = where == "in the file"
    settings = {"force_constants": inside, "force_sets": False}
    phonon.save(tmp_path / "phonopy.yaml", settings=settings)
    if not inside:
        p2s_map = phonon.primitive.p2s_map if compact else None
        name = tmp_path / "FORCE_CONSTANTS"
        write_FORCE_CONSTANTS(phonon.force_constants, filename=name, p2s_map=p2s_map)
    (label,), printed = labelled("--from_phonopy", tmp_path / "phonopy.yaml")
    atoms = perfect(phonon)
    atoms.calc = EMT()
    reference = hessian(atoms, 0.01)[0]
    assert label.atoms.tolist() == [0]
    assert np.abs(label.hessian).max() > 5
    assert np.abs(label.hessian - reference[:3]).max() < 1e-6
    assert "force constants of 1 of 32 atoms" in printed


def test_force_constants_of_all_atoms_become_a_hessian(labelled, tmp_path):
    """Of a supercell that is the primitive cell; forces at rest leave terms of third order."""
    phonon = phonon_of(off_centre(), cells=(1, 1, 1), is_plusminus=True)
    phonon.produce_force_constants()
    phonon.save(tmp_path / "phonopy.yaml", settings={"force_constants": True})
    (label,), _ = labelled("--from_phonopy", tmp_path / "phonopy.yaml")
    atoms = perfect(phonon)
    atoms.calc = EMT()
    assert label.atoms is None and label.hessian.shape == (6, 6)
    assert np.abs(label.hessian - hessian(atoms, 0.01)[0]).max() < 1e-2


@pytest.mark.parametrize("constants", [True, False])
def test_units_of_other_calculators(labelled, tmp_path, constants):
    """Quantum ESPRESSO: bohr, Ry/bohr and Ry/bohr²."""
    found = []
    for name, units in (
        ("ev", {}),
        ("qe", {"calculator": "qe", "length": Bohr, "force": Ry / Bohr}),
    ):
        phonon = phonon_of(copper(), **units)
        if constants:
            phonon.produce_force_constants()
        settings = {"force_constants": constants, "force_sets": not constants}
        (tmp_path / name).mkdir()
        phonon.save(tmp_path / name / "phonopy.yaml", settings=settings)
        found += labelled("--from_phonopy", tmp_path / name / "phonopy.yaml", out=f"{name}.npz")[0]
    expected, label = found
    assert np.abs(label.positions - expected.positions).max() < 1e-5
    for part in ("hessian", "displacements", "force_changes"):
        value = getattr(expected, part)
        assert (value is None) == ((part == "hessian") != constants)
        if value is not None:
            assert np.abs(getattr(label, part) - value).max() < 1e-5 * np.abs(value).max()


def test_files_without_forces_and_other_files(refused, tmp_path, data):
    phonon_of(copper()).save(tmp_path / "phonopy_disp.yaml", settings={"force_sets": False})
    assert "phonopy-init -f" in refused("--from_phonopy", tmp_path / "phonopy_disp.yaml")
    (tmp_path / "odd.yaml").write_text("a: 1\n")
    assert "phonopy cannot load" in refused("--from_phonopy", tmp_path / "odd.yaml")
    assert "no such file" in refused("--from_phonopy", tmp_path / "absent.yaml")
    assert "leave DATA out" in refused(data, "--from_phonopy", tmp_path / "odd.yaml")


def test_forces_that_are_gradients(refused, tmp_path):
    phonon = phonon_of(copper())
    phonon.forces = -phonon.forces
    phonon.save(tmp_path / "phonopy_params.yaml")
    assert "are they gradients" in refused("--from_phonopy", tmp_path / "phonopy_params.yaml")


def test_a_missing_phonopy_is_named(refused, tmp_path, monkeypatch):
    (tmp_path / "phonopy.yaml").write_text("")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "phonopy" else find(name)
    )
    assert "pip install phonopy" in refused("--from_phonopy", tmp_path / "phonopy.yaml")


def test_an_old_phonopy_is_refused(refused, tmp_path, monkeypatch):
    (tmp_path / "phonopy.yaml").write_text("")
    monkeypatch.setattr(phonopy, "__version__", "2.20.0")
    error = refused("--from_phonopy", tmp_path / "phonopy.yaml")
    assert "phonopy 4 or newer, not 2.20.0" in error
