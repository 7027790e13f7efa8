"""Labels from ASE's ``Phonons``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import InputError, reason_of
from .conversion import Converted, label_of
from .selection import select


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
        InputError: for a folder that does not fit.
    """
    from ase.phonons import Phonons

    cell = select(data, "0").frames[0].atoms
    phonons = Phonons(cell, supercell=supercell, name=str(folder), delta=delta)
    try:
        phonons.read(method="standard", symmetrize=0, acoustic=False)
    except Exception as error:  # whatever an unfinished folder leads to
        raise InputError(
            f"{folder}: not a finished folder of ASE's Phonons for the {len(cell)} atoms of {data} "
            f"and --supercell {' '.join(map(str, supercell))} ({reason_of(error)})"
        ) from error
    constants = np.asarray(phonons.C_N)
    hessian = _spread(constants, supercell)
    n_cells, size = len(constants), 3 * len(cell)
    folded = hessian.reshape(n_cells, size, n_cells, size).sum(axis=(0, 2)) / n_cells
    labels = [label_of(cell * supercell, hessian), label_of(cell, folded)]
    # a lone atom has no Hessian, and a supercell of one cell is the cell
    labels = labels[: 1 if n_cells == 1 or len(cell) == 1 else 2]
    return Converted(
        labels,
        [str(folder)] * len(labels),
        f"ASE Phonons: {folder.name}, supercell {supercell}, delta {delta:g} Å",
    )


def _spread(constants: np.ndarray, supercell: tuple[int, int, int]) -> np.ndarray:
    """Force constants of one cell with all, moved to every cell.

    Args:
        constants: ``(n_cells, 3 n_atoms, 3 n_atoms)``; a row per displaced component of the
            reference cell, by the cell of the other atom.
        supercell: number of cells in each direction.

    Returns:
        ``(3 n_cells n_atoms, 3 n_cells n_atoms)``, in the order of ``atoms * supercell``.
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
    return hessian.reshape(n_cells * size, n_cells * size)
