"""What the files of a finished frequency job hold, whatever the program."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class FrequencyJob:
    """What the files of one job hold.

    Attributes:
        numbers: ``(n_atoms,)``, atomic numbers.
        geometries: ``(n_geometries, n_atoms, 3)`` in Å, the last one that of the Hessian, perhaps
            turned.
        hessian: ``(3 n_atoms, 3 n_atoms)`` in eV/Å², perhaps in the axes of another geometry; with
            rows and columns of zeros for atoms that were kept frozen.
        energy: in eV, or None if unknown.
        forces: ``(n_atoms, 3)`` in eV/Å in the axes of the last geometry, or None; programs
            differ in the sign, and so does cclib.
        masses: ``(n_atoms,)`` in u, or None.
        frequencies: in cm⁻¹, imaginary ones negative, or None.
        charge: in units of e, or None.
        multiplicity: 2S+1, or None.
        cell: ``(3, 3)`` in Å of a periodic structure, or None.
        source: where the geometry is from, if not from the file of the Hessian.
    """

    numbers: np.ndarray
    geometries: np.ndarray
    hessian: np.ndarray
    energy: float | None = None
    forces: np.ndarray | None = None
    masses: np.ndarray | None = None
    frequencies: np.ndarray | None = None
    charge: int | None = None
    multiplicity: int | None = None
    cell: np.ndarray | None = None
    source: str | None = None


def from_lower_triangle(elements: np.ndarray, size: int) -> np.ndarray:
    """The symmetric matrix of its lower triangle, row after row.

    Args:
        elements: ``(size (size + 1) / 2,)``.
        size: number of rows.

    Raises:
        ValueError: for another number of elements.
    """
    if elements.shape != (size * (size + 1) // 2,):
        raise ValueError(
            f"{size // 3} atoms have {size * (size + 1) // 2} force constants in the lower "
            f"triangle, not {elements.size}"
        )
    matrix = np.zeros((size, size))
    matrix[np.tril_indices(size)] = elements
    return matrix + np.tril(matrix, -1).T
