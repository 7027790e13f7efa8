"""Data that cannot be right."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: atoms closer than this (Å) are at the same place
SAME_PLACE = 1e-3
#: cells of less volume than this (Å³) cannot be inverted
FLAT = 1e-6


def problem_of(
    numbers: ArrayLike,
    positions: ArrayLike,
    cell: ArrayLike | None = None,
    pbc: ArrayLike | None = None,
    **labels: ArrayLike | None,
) -> str | None:
    """What is wrong with a structure, in words that follow its file and frame number.

    Args:
        numbers: ``(n_atoms,)``, atomic numbers.
        positions: ``(n_atoms, 3)`` in Å.
        cell: ``(3, 3)`` in Å.
        pbc: ``(3,)`` bool.
        labels: energy, forces, stress and others by name; None where there is none.

    Returns:
        a sentence with the remedy; None if nothing is.
    """
    positions = np.asarray(positions, dtype=float)
    if np.size(numbers) == 0:
        return "it has no atoms; remove the frame"
    if (np.asarray(numbers) == 0).any():
        atom = int(np.argmin(np.asarray(numbers) != 0))
        return f"atom {atom} is a dummy (X, atomic number 0); remove it"
    if not np.isfinite(positions).all():
        atom = int(np.argwhere(~np.isfinite(positions))[0][0])
        return f"the position of atom {atom} is not finite; remove the frame or correct it"
    for name, value in labels.items():
        if value is not None and not np.isfinite(np.asarray(value, dtype=float)).all():
            return f"'{name}' is not finite; remove the frame, or the label from it"
    periodic = np.zeros(3, dtype=bool) if pbc is None else np.asarray(pbc, dtype=bool)
    lattice = np.zeros((3, 3)) if cell is None else np.asarray(cell, dtype=float)
    if not np.isfinite(lattice).all():
        return "its cell is not finite; remove the frame or correct it"
    lacking = bool((periodic & ~lattice.any(axis=1)).any())
    if lacking or (periodic.any() and abs(np.linalg.det(_completed(lattice))) < FLAT):
        return (
            "it is periodic, but its cell vectors do not span a volume; correct the cell, or set "
            'pbc="F F F"'
        )
    pair = _same_place(positions, lattice, periodic)
    if pair is not None:
        return f"atoms {pair[0]} and {pair[1]} are at the same place; remove the frame"
    return None


def problem_of_atoms(atoms: Any, **labels: ArrayLike | None) -> str | None:
    """:func:`problem_of` an ``ase.Atoms``."""
    return problem_of(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, **labels)


def _completed(cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cell with a unit vector for each one that is missing, as slabs and wires lack some."""
    from ase.geometry import complete_cell

    return np.asarray(complete_cell(cell))


def _same_place(
    positions: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_]
) -> tuple[int, int] | None:
    """Two atoms closer than :data:`SAME_PLACE`, also across the cell's faces, or None."""
    from scipy.spatial import cKDTree

    points, box = positions, None
    if pbc.any():
        fractional = np.linalg.solve(_completed(cell).T, positions.T).T
        # a tolerance in fractions of the cell is good enough for "the same place"
        points = np.where(pbc, fractional % 1.0, fractional)
        points = np.where(pbc & (points >= 1.0), 0.0, points)
        lengths = np.linalg.norm(_completed(cell), axis=1)
        points, box = points * lengths, np.where(pbc, lengths, 0.0)
    pairs = cKDTree(points, boxsize=box).query_pairs(SAME_PLACE)
    return min(pairs) if pairs else None
