"""An energy for each element, fitted by least squares to energies of compositions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: a composition is spanned by others if this much of it (in atoms) is left over
_TOLERANCE = 1e-6


def compositions(structures: Iterable[ArrayLike], elements: ArrayLike) -> NDArray[np.float64]:
    """Number of atoms of each element, ``(n_structures, n_elements)``.

    Args:
        structures: the atomic numbers of each.
        elements: atomic numbers.
    """
    wanted = np.asarray(elements)
    counts = [(np.reshape(numbers, (-1, 1)) == wanted).sum(axis=0) for numbers in structures]
    return np.array(counts, dtype=float).reshape(len(counts), len(wanted))


class ElementEnergies:
    """The solution of least squares with the smallest norm."""

    def __init__(self, compositions: NDArray[np.float64], energies: NDArray[np.float64]) -> None:
        """Fit.

        Args:
            compositions: ``(n, n_elements)``, atoms of each element.
            energies: ``(n,)`` in eV.
        """
        unique = np.unique(compositions, axis=0)
        _, _, directions = np.linalg.svd(unique, full_matrices=False)
        self._directions = directions[: np.linalg.matrix_rank(unique)]
        self.energies = np.linalg.lstsq(compositions, energies, rcond=None)[0]

    @property
    def rank(self) -> int:
        """Number of independent compositions."""
        return len(self._directions)

    def __call__(self, compositions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Σ e0 of compositions ``(n, n_elements)``, ``(n,)`` in eV."""
        return compositions @ self.energies

    def spans(self, compositions: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether the compositions fitted to fix Σ e0 of others, ``(n,)``.

        Ethanol alone says nothing of the sum for methanol, as it leaves open how much of it belongs
        to carbon.
        """
        rest = compositions - compositions @ self._directions.T @ self._directions
        return np.asarray(np.abs(rest).max(axis=1) < _TOLERANCE)
