"""Labels from phonopy: sets of displacements and forces, or force constants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InputError
from ...frames.identity import StructureIndex
from ...frames.reading import FORCES, Keys, structure_of
from ...frames.structure import CELL_TOLERANCE
from ...labels.hessian_checks import unreciprocated
from ...labels.hessian_labels import HessianLabel
from .conversion import Converted
from .phono3py_sets import is_of_phono3py, load_phono3py
from .phonopy_files import (
    as_atoms,
    candidates,
    load_phonopy,
    require_phonopy,
    units_are_assumed,
    without_forces,
)

if TYPE_CHECKING:
    from ase import Atoms

_OPTION = "--from_phonopy"
#: largest displacement of an atom (Å) at which the change of the forces is that of a Hessian;
#: beyond, higher orders make up more than a twentieth
LARGEST_PROBE = 0.1
#: at these displacements, noise of 0.001 eV/Å and higher orders leave less than a fifth of it
#: (relative to curvatures); forces at rest of 0.02 eV/Å more, of CuAu displaced by 0.01 Å
_UNRECIPROCATED = 0.5


def from_phonopy(paths: Sequence[Path], labels: bool = True) -> Converted:
    """The labels of the supercells of ``phonopy.yaml``-like files, or of folders with one.

    Force constants give rows of the Hessian, those of the atoms of the primitive cell, of which
    the others are translations; displacements with forces give probes, if there are no force
    constants. Both may be in the file, or beside it under phonopy's names (``FORCE_CONSTANTS``,
    ``FORCE_SETS``, …). Units of phonopy's calculators are converted. Displacements of all atoms
    also give the displaced supercells with their energies and forces.

    Args:
        paths: ``phonopy_disp.yaml``, ``phonopy_params.yaml``, ``phonopy.yaml`` or the like,
            ``phono3py_params.yaml``, or the folder of one; one for each crystal.
        labels: whether labels are wanted, not the displaced supercells alone.

    Raises:
        InputError: without phonopy, for files that it cannot read or that hold neither, and for
            labels from displacements that are no small ones.
    """
    require_phonopy(_OPTION)
    made, notes = [], []
    for path in paths:
        file, phonons = load_with_forces(path, _OPTION)
        found = [_converted(file, phonon, labels) for phonon in phonons]
        about = [note for one in found for note in one.notes]
        if file != path:
            about.insert(0, f"read from {file}")
        if units_are_assumed(file):
            about.append(f"{file.name} names no units: taken as eV and Å")
        notes += about if len(paths) == 1 else [f"{path}: {'; '.join(about)}"]
        made += found
    notes += _alike(made)
    return Converted(
        [label for one in made for label in one.labels],
        [place for one in made for place in one.where],
        f"phonopy: {', '.join(path.resolve().name for path in paths)}",
        [atoms for one in made for atoms in one.frames],
        notes,
        [atoms for one in made for atoms in one.displaced],
    )


def _alike(made: Sequence[Converted]) -> list[str]:
    """Lines on supercells that may be one crystal: its atoms in another order, or moved.

    Nothing compares the labels of such, and two methods would be trained on together.
    """
    known: list[tuple[str, Atoms]] = []
    lines = []
    for one in made:
        (atoms,) = one.frames
        first = next((where for where, other in known if _is_alike(atoms, other)), None)
        if first is not None:
            lines.append(
                f"{one.where[0]} has the cell and the elements of {first}, and other positions or "
                "another order: if they are one crystal, take those of one method"
            )
        known.append((one.where[0], atoms))
    return lines


def _is_alike(atoms: Atoms, other: Atoms) -> bool:
    """Whether two supercells have one cell and the same elements, and are not the same."""
    return (
        sorted(atoms.numbers) == sorted(other.numbers)
        and bool(np.abs(atoms.cell.array - other.cell.array).max() < CELL_TOLERANCE)
        and StructureIndex([structure_of(other)]).find(structure_of(atoms)) is None
    )


def load_with_forces(path: Path, option: str) -> tuple[Path, list[Any]]:
    """phonopy's objects from a file, or from the first of a folder that has what is needed.

    Args:
        path: of phonopy or phono3py, or a folder with files of theirs.
        option: who asks, for messages.

    Returns:
        the file with forces or force constants, and its objects, as :func:`.load_phonopy` and
        :func:`.load_phono3py` give them.

    Raises:
        InputError: if there is none.
    """
    files = candidates(path)
    for file in files:
        if is_of_phono3py(file):
            return file, load_phono3py(file, option)
        phonon = load_phonopy(file, option)
        if phonon.force_constants is not None or _sets(phonon) is not None:
            return file, [phonon]
    raise without_forces(files[0])


def _converted(path: Path, phonon: Any, wanted: bool) -> Converted:
    from phonopy.interface.calculator import (  # type: ignore[attr-defined]
        get_calculator_physical_units,
    )

    units = get_calculator_physical_units(phonon.calculator)
    length, force = units.distance_to_A, units.force_to_eVperA
    supercell = as_atoms(phonon.supercell, length)
    known = np.zeros((len(supercell), 3)) if _at_rest_by_symmetry(phonon) else None
    sets, displaced, notes = _sets(phonon), [], []
    if sets is not None:
        displacements, forces = sets[0] * length, sets[1] * force
        if _moves_all_atoms(displacements):
            energies = _energies(phonon, units.energy_to_eV)
            displaced = _displaced(supercell, displacements, forces, energies)
    if not wanted and not displaced:
        raise InputError(
            f"{path}: it has no displacements of all atoms with forces, which --frames alone "
            "writes; give --out for labels"
        )
    if phonon.force_constants is not None:
        label = _rows(supercell, phonon, force / length)
        notes = [f"phonopy's force constants of {len(label.rows)} of {len(supercell)} atoms"]
    elif wanted:
        _check_small(path, displacements)
    if phonon.force_constants is None:
        known, note = _forces_at_rest(known, displacements, forces)
        label = _probes(supercell, displacements, forces if known is None else forces - known)
        if wanted:
            _check_reciprocity(path, label)
        notes = [f"{len(displacements)} displacements of phonopy; {note}"]
    if known is not None:
        supercell.arrays[FORCES] = known
    return Converted([label], [str(path)], "", [supercell], notes, displaced)


def _check_small(path: Path, displacements: np.ndarray) -> None:
    """Refuse probes along displacements at which forces do not change as a Hessian says.

    Raises:
        InputError: with what such a set is good for.
    """
    largest = float(np.linalg.norm(displacements, axis=2).max())
    if largest <= 1.001 * LARGEST_PROBE:
        return
    remedy = "make force constants of them first (phonopy-load --writefc)"
    if _moves_all_atoms(displacements):
        remedy = "take the displaced supercells as training data: --frames without --out"
    raise InputError(
        f"{path}: atoms are displaced by up to {largest:.2g} Å, and beyond {LARGEST_PROBE:g} Å the "
        f"change of the forces is no longer that of a Hessian: these are no probes; {remedy}"
    )


def _check_reciprocity(path: Path, label: HessianLabel) -> None:
    """Refuse forces that are no linear change along the displacements.

    Raises:
        InputError: with what may be the reason.
    """
    ratio = unreciprocated(label)
    if ratio <= _UNRECIPROCATED:
        return
    raise InputError(
        f"{path}: the forces are not those that a Hessian gives: what one displacement changes "
        "along another, and the reverse, should be the same, and differ by "
        f"{ratio:.0%} of the largest curvature; either there are forces in the perfect supercell "
        "(relax it, subtract them with phonopy-init --fz, or make displacements of both signs with "
        "phonopy-init -d --pm), or these are the forces of other displacements"
    )


def _moves_all_atoms(displacements: np.ndarray) -> bool:
    """Whether the sets are random displacements, not those of one or two atoms."""
    moved = np.linalg.norm(displacements, axis=2) > 0
    return moved.shape[1] > 2 and bool(moved.mean() > 0.5)


def _energies(phonon: Any, unit: float) -> np.ndarray | None:
    """Energies of the displaced supercells in eV, ``(n_sets,)``, if all are known."""
    given = (phonon.dataset or {}).get("supercell_energies")
    if given is None or any(energy is None for energy in given):
        return None
    energies = np.asarray(given, dtype=float) * unit
    return energies if np.isfinite(energies).all() else None


def _displaced(
    supercell: Atoms, displacements: np.ndarray, forces: np.ndarray, energies: np.ndarray | None
) -> list[Atoms]:
    keys, found = Keys(), []
    for number, (displacement, force) in enumerate(zip(displacements, forces, strict=True)):
        atoms = supercell.copy()
        atoms.positions += displacement
        atoms.arrays[keys.forces] = force
        if energies is not None:
            atoms.info[keys.energy] = float(energies[number])
        found.append(atoms)
    return found


def _rows(supercell: Atoms, phonon: Any, unit: float) -> HessianLabel:
    constants = phonon.force_constants * unit
    n_rows, n_atoms = constants.shape[:2]
    atoms = None
    if n_rows < n_atoms:
        atoms = np.asarray(phonon.primitive.p2s_map, dtype=np.int64)
        order = np.argsort(atoms)
        atoms, constants = atoms[order], constants[order]
    hessian = constants.swapaxes(1, 2).reshape(3 * n_rows, 3 * n_atoms)
    return HessianLabel(
        supercell.numbers, supercell.positions, supercell.cell.array, supercell.pbc, hessian, atoms
    )


def _sets(phonon: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Displacements and forces, each ``(n_sets, n_atoms, 3)`` in the units of the calculator.

    None if there are no forces.
    """
    dataset = phonon.dataset or {}
    entries = dataset.get("first_atoms")
    if entries and all("forces" in entry for entry in entries):
        displacements = np.zeros((len(entries), len(phonon.supercell), 3))
        for displacement, entry in zip(displacements, entries):
            displacement[entry["number"]] = entry["displacement"]
        return displacements, np.array([entry["forces"] for entry in entries])
    if "forces" in dataset:
        # FORCE_SETS may hold the first of the displacements alone
        n_sets = len(dataset["forces"])
        return np.asarray(dataset["displacements"])[:n_sets], np.asarray(dataset["forces"])
    return None


def _forces_at_rest(
    by_symmetry: np.ndarray | None, displacements: np.ndarray, forces: np.ndarray
) -> tuple[np.ndarray | None, str]:
    """Forces of the perfect supercell, None if they are not known, and how they were come by."""
    if by_symmetry is not None:
        return by_symmetry, "no forces in the perfect supercell by symmetry"
    pairs = [
        0.5 * (forces[one] + forces[other])
        for one in range(len(forces))
        for other in range(one)
        if np.allclose(displacements[one], -displacements[other], rtol=0, atol=1e-6)
    ]
    if not pairs:
        return None, (
            "symmetry allows forces in the perfect supercell, which are taken as 0: relax it "
            "first, or subtract them with phonopy-init --fz"
        )
    perfect = np.mean(pairs, axis=0)
    return perfect, (
        "forces of the perfect supercell from opposite displacements, up to "
        f"{np.abs(perfect).max():.2g} eV/Å, subtracted"
    )


def _probes(supercell: Atoms, displacements: np.ndarray, changes: np.ndarray) -> HessianLabel:
    return HessianLabel(
        supercell.numbers,
        supercell.positions,
        supercell.cell.array,
        supercell.pbc,
        displacements=displacements,
        force_changes=changes,
    )


def _at_rest_by_symmetry(phonon: Any) -> bool:
    """Whether no vector at any site is left unchanged by all symmetry operations of the site."""
    symmetry = phonon.symmetry
    sites = [symmetry.get_site_symmetry(atom) for atom in symmetry.get_independent_atoms()]
    return all(np.abs(np.mean(site, axis=0)).max() < 1e-10 for site in sites)
