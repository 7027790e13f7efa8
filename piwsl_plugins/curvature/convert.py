"""Labels from finished calculations: ASE's Vibrations and Phonons, and frames with Hessians."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import CurvatureError
from .storage import Finished

if TYPE_CHECKING:
    from ase import Atoms


@dataclasses.dataclass(frozen=True)
class Converted:
    """Structures (``Atoms``), the curvature of each, and where it comes from in words."""

    structures: Sequence[Any]
    found: Sequence[Finished]
    method: str


def from_vibrations(
    paths: Sequence[Path], data: Path | None, index: str, delta: float | None
) -> Converted:
    """Hessians of ASE's ``VibrationsData`` files and ``Vibrations`` folders, in the order given.

    Args:
        paths: JSON files and folders.
        data: file with the structures of the folders, one per folder; JSON files hold their own.
        index: selection of those structures.
        delta: displacement in Å of the folders.

    Raises:
        CurvatureError: for paths that are neither, that lack displacements, or whose Hessian does
            not cover all atoms.
    """
    folders = [path for path in paths if path.is_dir()]
    structures = iter(_structures_of(folders, data, index, delta))
    found = []
    for path in paths:
        if path.is_dir():
            assert delta is not None
            found.append(_read_folder(path, next(structures), delta))
        else:
            found.append(_read_vibrations(path))
    names = ", ".join(path.name for path in paths)
    return Converted(
        [atoms for atoms, _ in found],
        [Finished(hessian=hessian) for _, hessian in found],
        f"ASE Vibrations: {names}",
    )


def from_phonons(
    folder: Path, data: Path, supercell: tuple[int, int, int], delta: float
) -> Converted:
    """Hessians of the supercell and of the unit cell from a folder of ASE's ``Phonons``.

    Force constants from displacements in a periodic supercell are second derivatives of that
    supercell's energy, images included: moved to every cell they make up its whole Hessian.
    Summed over the cells they give the unit cell's, in which all images of an atom move together
    (for methods with k points: if the two cells' k points are equivalent).

    Args:
        folder: where ``Phonons`` kept its forces.
        data: file with the unit cell, alone or first.
        supercell: as ``Phonons`` was given it.
        delta: as ``Phonons`` was given it, in Å.

    Raises:
        CurvatureError: for a folder that does not fit.
    """
    from ase.phonons import Phonons

    cell = _structures_of([folder], data, "0", delta)[0]
    phonons = Phonons(cell, supercell=supercell, name=str(folder), delta=delta)
    try:
        phonons.read(method="standard", symmetrize=0, acoustic=False)
    except (KeyError, OSError, ValueError, AssertionError) as error:
        raise CurvatureError(
            f"{folder}: not a finished folder of ASE's Phonons for the {len(cell)} atoms of {data} "
            f"and --supercell {' '.join(map(str, supercell))} ({type(error).__name__}: {error})"
        ) from error
    hessian = _spread(phonons.C_N, supercell)
    n_cells, size = len(phonons.C_N), 3 * len(cell)
    folded = hessian.reshape(n_cells, size, n_cells, size).sum(axis=(0, 2)) / n_cells
    converted = [(cell * supercell, hessian), (cell, folded)]
    # a lone atom has no curvature, and a supercell of one cell is the cell
    kept = converted[: 1 if n_cells == 1 or len(cell) == 1 else 2]
    return Converted(
        [atoms for atoms, _ in kept],
        [Finished(hessian=matrix) for _, matrix in kept],
        f"ASE Phonons: {folder.name}, supercell {supercell}, delta {delta:g} Å",
    )


def from_frames(data: Path) -> Converted:
    """Hessians of frames that carry them under ``REF_hessian``.

    Raises:
        CurvatureError: if there are none, or of another size.
    """
    from ase import Atoms

    from ..core.curvature import read_labels
    from ..core.settings import SettingsError

    try:
        labels = read_labels(data)
    except SettingsError as error:
        raise CurvatureError(f"{data}: {error.remedy}") from error
    found = []
    for label in labels:
        if label.hessian is None:
            raise CurvatureError(f"{data} is a label file already")
        found.append(Finished(hessian=_checked(label.hessian, f"{data}: a Hessian")))
    structures = [Atoms(label.numbers, label.positions) for label in labels]
    return Converted(structures, found, f"Hessians of {data.name}")


def _structures_of(
    folders: Sequence[Path], data: Path | None, index: str, delta: float | None
) -> list[Atoms]:
    """The structures that folders of displaced forces belong to."""
    from .frames import read_structures

    if not folders:
        return []
    if data is None or delta is None:
        raise CurvatureError(
            f"{folders[0]} is a folder of displaced forces: it needs the file of its structure "
            "(the undisplaced one) and --delta, the displacement in Å (ASE's default is 0.01)"
        )
    structures = [one.atoms for one in read_structures(data, index).structures]
    if len(structures) != len(folders):
        raise CurvatureError(
            f"{len(folders)} folders, but {len(structures)} different structures in {data}; give "
            "one per folder, in the same order (--index selects)"
        )
    return structures


def _read_vibrations(path: Path) -> tuple[Atoms, np.ndarray]:
    from ase.vibrations import VibrationsData

    if not path.is_file():
        raise CurvatureError(f"{path}: there is no such file or folder")
    try:
        vibrations = VibrationsData.read(path)
        atoms, hessian = vibrations.get_atoms(), vibrations.get_hessian_2d()
    except Exception as error:  # whatever a file of another kind leads to
        raise CurvatureError(f"{path}: not a file of ASE's VibrationsData") from error
    if hessian.shape != (3 * len(atoms), 3 * len(atoms)):
        raise CurvatureError(
            f"{path}: holds the Hessian of {len(hessian) // 3} of {len(atoms)} atoms; a label "
            "needs all, so run Vibrations without indices and constraints"
        )
    return atoms, _checked(hessian, str(path))


def _read_folder(path: Path, atoms: Atoms, delta: float) -> tuple[Atoms, np.ndarray]:
    from ase.vibrations import Vibrations

    four_points = any(path.glob("*x++.json"))
    vibrations = Vibrations(atoms, name=str(path), delta=delta, nfree=4 if four_points else 2)
    try:
        vibrations.read()
    except (KeyError, OSError, ValueError, RuntimeError, AssertionError) as error:
        raise CurvatureError(
            f"{path}: not a finished folder of ASE's Vibrations for all {len(atoms)} atoms "
            f"({type(error).__name__}: {error})"
        ) from error
    return atoms, _checked(vibrations.H, str(path))


def _spread(constants: np.ndarray, supercell: tuple[int, int, int]) -> np.ndarray:
    """Force constants of one cell with all, moved to every cell.

    Args:
        constants: ``(n_cells, 3 n_atoms, 3 n_atoms)``; a row per displaced component of the
            reference cell, by the cell of the other atom.
        supercell: number of cells in each direction.

    Returns:
        ``(3 n_cells n_atoms, 3 n_cells n_atoms)``, symmetrised, in the order of ``atoms *
        supercell``.
    """
    n_cells, size = len(constants), constants.shape[1]
    cells = np.indices(supercell).reshape(3, -1).T
    # Phonons displaces the first cell or the middle one; H being positive tells which:
    # no block has a larger trace than the one on the diagonal
    reference = int(np.argmax(np.trace(constants, axis1=1, axis2=2)))
    hessian = np.empty((n_cells, size, n_cells, size))
    for row in range(n_cells):
        moved = (cells - cells[reference] + cells[row]) % supercell
        hessian[row][:, np.ravel_multi_index(moved.T, supercell), :] = constants.swapaxes(0, 1)
    square = hessian.reshape(n_cells * size, n_cells * size)
    return 0.5 * (square + square.T)


def _checked(hessian: np.ndarray, where: str) -> np.ndarray:
    if not np.isfinite(hessian).all():
        raise CurvatureError(f"{where}: not all elements are finite")
    return 0.5 * (hessian + hessian.T)
