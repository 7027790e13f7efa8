"""Labels from phonopy: sets of displacements and forces, or force constants."""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import lzma
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.hessian_labels import HessianLabel
from ...frames.reading import Keys
from ..errors import InputError, reason_of
from .conversion import Converted

if TYPE_CHECKING:
    from ase import Atoms


def from_phonopy(path: Path) -> Converted:
    """The label of the supercell of a ``phonopy.yaml``-like file.

    Force constants give rows of the Hessian, those of the atoms of the primitive cell, of which
    the others are translations; displacements with forces give probes, if there are no force
    constants. Both may be in the file, or beside it under phonopy's names (``FORCE_CONSTANTS``,
    ``FORCE_SETS``, …). Units of phonopy's calculators are converted.

    Args:
        path: ``phonopy_disp.yaml``, ``phonopy_params.yaml``, ``phonopy.yaml`` or the like.

    Raises:
        InputError: without phonopy, and for files that it cannot read or that hold neither.
    """
    phonon = load_phonopy(path, "--from_phonopy")
    from phonopy.interface.calculator import get_calculator_physical_units

    units = get_calculator_physical_units(phonon.calculator)
    length, force = units.distance_to_A, units.force_to_eVperA
    supercell = as_atoms(phonon.supercell, length)
    at_rest = np.zeros((len(supercell), 3)) if _at_rest_by_symmetry(phonon) else None
    if phonon.force_constants is not None:
        known, label = at_rest, _rows(supercell, phonon, force / length)
        notes = [f"phonopy's force constants of {len(label.rows)} of {len(supercell)} atoms"]
    else:
        displacements, forces = _sets(path, phonon)
        displacements, forces = displacements * length, forces * force
        known, note = _forces_at_rest(at_rest, displacements, forces)
        label = _probes(supercell, displacements, forces if known is None else forces - known)
        notes = [f"{len(displacements)} displacements of phonopy; {note}"]
    if known is not None:
        supercell.arrays[Keys().forces] = known
    return Converted([label], [str(path)], f"phonopy: {path.name}", [supercell], notes)


def require_phonopy(option: str) -> None:
    """Refuse an option where phonopy is not installed, or too old.

    Raises:
        InputError: with the remedy.
    """
    if importlib.util.find_spec("phonopy") is None:
        raise InputError(f"{option} works through phonopy: pip install phonopy")
    import phonopy

    if int(phonopy.__version__.partition(".")[0]) < 4:
        raise InputError(
            f"{option} needs phonopy 4 or newer, not {phonopy.__version__}: "
            "pip install --upgrade phonopy"
        )


def load_phonopy(path: Path, option: str) -> Any:
    """phonopy's object from a file, with the forces or force constants in it or beside it.

    Args:
        path: ``phonopy_disp.yaml``, ``phonopy_params.yaml``, ``phonopy.yaml`` or the like.
        option: who asks, for messages.

    Returns:
        a ``phonopy.Phonopy`` in the units of its calculator; without the non-analytical term, and
        without force constants unless the files hold some.

    Raises:
        InputError: without phonopy, and for files that it cannot read.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    require_phonopy(option)
    import phonopy

    try:
        _refuse_tags(path)
        with _inside(path.resolve().parent):
            return phonopy.load(path.name, is_nac=False, produce_fc=False, log_level=0)
    except Exception as error:  # whatever a file of another kind leads to
        raise InputError(f"{path}: phonopy cannot load this ({reason_of(error)})") from error


def _refuse_tags(path: Path) -> None:
    """Refuse YAML with tags, as phonopy's loader makes whatever Python object they name.

    Raises:
        ValueError: naming the line.
    """
    import yaml

    opened = {".xz": lzma.open, ".gz": gzip.open}.get(path.suffix, open)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with opened(path, "rb") as file:
        for event in yaml.parse(file, Loader=loader):
            tag = getattr(event, "tag", None)
            if tag:
                line = event.start_mark.line + 1
                raise ValueError(f"line {line} has the tag {tag}, which phonopy does not write")


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """phonopy looks for what belongs to a file in the working directory, not beside the file."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def as_atoms(cell: Any, length: float) -> Atoms:
    """A ``PhonopyAtoms`` as ASE's, periodic; ``length`` is phonopy's unit of length in Å."""
    from ase import Atoms

    return Atoms(cell.numbers, cell.positions * length, cell=cell.cell * length, pbc=True)


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


def _sets(path: Path, phonon: Any) -> tuple[np.ndarray, np.ndarray]:
    """Displacements and forces, each ``(n_sets, n_atoms, 3)`` in the units of the calculator."""
    dataset = phonon.dataset or {}
    if "first_atoms" in dataset and all("forces" in entry for entry in dataset["first_atoms"]):
        entries = dataset["first_atoms"]
        displacements = np.zeros((len(entries), len(phonon.supercell), 3))
        for displacement, entry in zip(displacements, entries):
            displacement[entry["number"]] = entry["displacement"]
        return displacements, np.array([entry["forces"] for entry in entries])
    if "forces" in dataset:
        return np.asarray(dataset["displacements"]), np.asarray(dataset["forces"])
    raise InputError(
        f"{path}: neither this file nor FORCE_SETS or FORCE_CONSTANTS beside it holds forces or "
        "force constants; make them with phonopy -f"
    )


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
            "first, or subtract them with phonopy's --force-sets-zero"
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
