"""The crystals: the phonons of the reference, and what a model is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.cell import Cell
from ase.data import chemical_symbols

from .....errors import InputError, reason_of
from .....labels.hessian_labels import HessianLabel
from ....hessian.label_file import read
from ....hessian.phonopy_files import as_atoms, require_phonopy
from ....hessian.phonopy_sets import load_with_forces
from ....hessian.sanity import problem_of

#: endings of phonopy's own files; all else is read as Hessian labels
PHONOPY_ENDINGS = (".yaml", ".yml", ".yaml.xz", ".yaml.gz")
#: density of the mesh over the Brillouin zone, as phonopy's --mesh with one number (Å)
MESH_LENGTH = 50.0
#: density of the wave vectors along the path of the band structure (points per 1/Å)
PATH_DENSITY = 40.0
_OPTION = "--phonons"


class Crystal:
    """A crystal with reference phonons.

    Attributes:
        number: place among the crystals of the report, from 0.
        where: file, and number of the label, for messages.
        formula: of the primitive cell.
        supercell: as the reference has it, without displacements.
        displaced: the same with each displacement.
        path: of the band structure, as :func:`_path` gives it.
        reference: :meth:`spectrum` of the reference.
        regions: of the Brillouin zone, to which each wave vector of the mesh belongs.
        digest: identifies supercells, displacements, and forces or force constants.
    """

    def __init__(self, number: int, where: str, phonon: Any, length: float, force: float) -> None:
        """From phonopy's object.

        Args:
            number: place among the crystals of the report.
            where: file, and number of the label.
            phonon: a ``phonopy.Phonopy`` with forces or force constants. Displacements that it
                has are kept, else phonopy's own are made.
            length: its unit of length in Å.
            force: its unit of force in eV/Å.

        Raises:
            InputError: if phonopy cannot make force constants of the forces.
        """
        self.number, self.where = number, where
        self._phonon, self._length, self._force = phonon, length, force
        primitive = as_atoms(phonon.primitive, length)
        self.formula = primitive.get_chemical_formula(mode="metal")
        has_forces = _has_forces(phonon.dataset)
        digest = _Digest(phonon.forces if has_forces else phonon.force_constants)
        try:
            self.path = _path(primitive.cell)
            if has_forces:
                self._make_force_constants()
            phonon.symmetrize_force_constants()
            self.reference = self.spectrum()
            self.regions = _regions(phonon)
        except Exception as error:  # whatever unusual displacements lead to
            reason = reason_of(error)
            raise InputError(f"{where}: phonopy makes no phonons of it ({reason})") from error
        if phonon.dataset is None:
            phonon.generate_displacements()
        self.supercell = as_atoms(phonon.supercell, length)
        self.displaced = [as_atoms(c, length) for c in phonon.supercells_with_displacements]
        for atoms in (primitive, self.supercell, *self.displaced):
            digest.add(atoms.numbers, atoms.positions, atoms.cell.array)
        digest.add(phonon.masses, [MESH_LENGTH, PATH_DENSITY])
        self.digest = digest.text

    @property
    def name(self) -> str:
        """Name of the crystal's piece on disk."""
        return f"phonons-{self.number}"

    def spectrum(self, forces: Sequence[np.ndarray] | None = None) -> dict[str, Any]:
        """Phonons of the reference, or of forces.

        Args:
            forces: for each of :attr:`displaced` ``(n_atoms, 3)`` in eV/Å, without those that act
                in :attr:`supercell`; None for the force constants at hand.

        Returns:
            frequencies in THz, imaginary ones negative: ``bands`` at the wave vectors of
            :attr:`path`, ``mesh`` on the irreducible mesh over the Brillouin zone (each
            ``(n_points, n_modes)``, ascending), ``weights`` of the mesh (sum 1), and the density of
            states ``dos`` (1/THz, its integral n_modes) at ``dos_frequencies``.
        """
        phonon = self._phonon
        if forces is not None:
            phonon.forces = np.array(forces) / self._force
            self._make_force_constants()
            phonon.symmetrize_force_constants()
        bands = phonon.run_qpoints(self.path["wave_vectors"]).frequencies
        mesh = phonon.run_mesh(MESH_LENGTH / self._length)
        dos = phonon.run_total_dos()
        return {
            "bands": bands,
            "mesh": np.array(mesh.frequencies),
            "weights": np.array(mesh.weights) / np.sum(mesh.weights),
            "dos_frequencies": dos.frequency_points,
            "dos": dos.dos,
        }

    def _make_force_constants(self) -> None:
        # phonopy's own solver is for displacements of single atoms
        solver = "symfc" if "displacements" in self._phonon.dataset else None
        self._phonon.produce_force_constants(fc_calculator=solver)


def read_crystals(paths: Sequence[Path]) -> list[Crystal]:
    """The crystals of phonopy's files, and of labels with the whole Hessian of a supercell.

    Args:
        paths: folders of phonopy, or ``phonopy_params.yaml`` and the like, with forces or force
            constants in them or beside them under phonopy's names; or label files, of which other
            labels are left out.

    Raises:
        InputError: without phonopy, and for files that hold neither.
    """
    found: list[Crystal] = []
    for path in paths:
        if path.is_dir() or path.name.endswith(PHONOPY_ENDINGS):
            found.append(_of_phonopy(path, len(found)))
        else:
            found.extend(_of_labels(path, len(found)))
    return found


def _path(cell: Cell) -> dict[str, Any]:
    """ASE's path for the Bravais lattice of a primitive cell.

    Returns:
        ``wave_vectors``, ``(n_points, 3)`` in units of the reciprocal cell; ``distance``,
        ``(n_points,)`` in 1/Å, the same at both sides of a gap of the path; ``ticks`` and
        ``tick_labels``, its corners.
    """
    path = cell.bandpath(density=PATH_DENSITY)
    distance, ticks, names = path.get_linear_kpoint_axis()
    return {
        "wave_vectors": path.kpts,
        "distance": distance,
        "ticks": ticks,
        "tick_labels": names,
    }


def _regions(phonon: Any) -> list[int]:
    """Which part of the Brillouin zone each wave vector of phonopy's mesh belongs to.

    Forces in a supercell determine the frequencies at the wave vectors that fit it; elsewhere
    phonopy interpolates. A part is what is nearest to one of these, or to one that symmetry makes
    equal: what one set of force constants tells independently.
    """
    from phonopy.harmonic.dynmat_to_fc import get_commensurate_points

    # integer: the supercell's vectors in those of the primitive cell
    vectors = np.rint(np.linalg.inv(phonon.primitive.primitive_matrix)).astype(int)
    fitting = np.array(get_commensurate_points(vectors))
    turned = np.einsum("oij,nj->noi", phonon.primitive_symmetry.reciprocal_operations, fitting)
    # in units in which all of them are integer
    images = np.rint(turned * len(fitting)).astype(int) % len(fitting)
    stars = [min(map(tuple, of_one)) for of_one in images.tolist()]
    numbers = {star: number for number, star in enumerate(dict.fromkeys(stars))}
    away = phonon.mesh.qpoints[:, None] - fitting
    away = (away - np.rint(away)) @ np.linalg.inv(phonon.primitive.cell).T
    nearest = np.square(away).sum(axis=2).argmin(axis=1)
    return [numbers[stars[index]] for index in nearest]


def _of_phonopy(path: Path, number: int) -> Crystal:
    # of phono3py the supercell of second order, if it has one of its own
    file, phonons = load_with_forces(path, _OPTION)
    phonon = phonons[-1]
    # phonopy imports it there without naming it as public
    from phonopy.interface.calculator import (  # type: ignore[attr-defined]
        get_calculator_physical_units,
    )

    units = get_calculator_physical_units(phonon.calculator)
    return Crystal(number, str(file), phonon, units.distance_to_A, units.force_to_eVperA)


def _of_labels(path: Path, first: int) -> Iterator[Crystal]:
    require_phonopy(_OPTION)
    labels, number = read(path), first
    for index, label in enumerate(labels):
        phonon = _supercell_phonon(label, f"{path} label {index}")
        if phonon is not None:
            yield Crystal(number, f"{path} label {index}", phonon, 1.0, 1.0)
            number += 1
    if number == first:
        raise InputError(
            f"{path}: none of its {len(labels)} labels is the whole Hessian of a supercell, a "
            "periodic structure that repeats a smaller cell; give phonopy's own file, or a Hessian "
            "of ASE's Phonons ('piwsl hessian --from_phonons')"
        )


def _supercell_phonon(label: HessianLabel, where: str) -> Any:
    """phonopy's object with the force constants of a label; None unless it is of a supercell."""
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms
    from phonopy.structure.cells import guess_primitive_matrix

    n_atoms = len(label.numbers)
    if label.hessian is None or len(label.rows) < n_atoms or label.cell is None:
        return None
    if not (label.cell.any(axis=1) if label.pbc is None else label.pbc).all():
        return None
    problem = problem_of(label)
    if problem is not None:
        raise InputError(f"{where}: {problem}")
    symbols = [chemical_symbols[number] for number in label.numbers]
    cell = PhonopyAtoms(symbols=symbols, cell=label.cell, positions=label.positions)
    primitive = guess_primitive_matrix(cell)
    if np.linalg.det(primitive) > 0.9:
        return None
    phonon = Phonopy(cell, np.eye(3, dtype=int), primitive_matrix=primitive)
    hessian = 0.5 * (label.hessian + label.hessian.T)
    phonon.force_constants = hessian.reshape(n_atoms, 3, n_atoms, 3).swapaxes(1, 2)
    return phonon


def _has_forces(dataset: dict[str, Any] | None) -> bool:
    first = (dataset or {}).get("first_atoms")
    return "forces" in (dataset or {}) or (
        first is not None and all("forces" in entry for entry in first)
    )


class _Digest:
    """Identifies arrays, but for the last digits, which differ between machines."""

    def __init__(self, *arrays: Any) -> None:
        self._hash = hashlib.sha256()
        self.add(*arrays)

    def add(self, *arrays: Any) -> None:
        for array in arrays:
            # adding 0 makes −0 of rounding to 0
            rounded = np.round(np.asarray(array, dtype=float), 7) + 0.0
            self._hash.update(np.ascontiguousarray(rounded).tobytes())

    @property
    def text(self) -> str:
        return self._hash.hexdigest()[:16]
