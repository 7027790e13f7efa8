"""Offsets between two methods: an energy for each element, by least squares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..structures import Frame

#: a composition is spanned by others if this much of it (in atoms) is left over
_TOLERANCE = 1e-6


class Offsets:
    """An energy for each element, fitted to frames."""

    def __init__(
        self, frames: Sequence[Frame], differences: Sequence[float], elements: Sequence[int]
    ) -> None:
        """Fit: the solution of least squares with the smallest norm.

        Args:
            frames: structures of which both energies are known.
            differences: of the two energies of each (eV).
            elements: atomic numbers that occur in any structure.
        """
        self._elements = np.array(elements)
        fitted = compositions(frames, elements)
        self._directions = _row_space(fitted)
        self.energies = np.linalg.lstsq(fitted, np.array(differences), rcond=None)[0]

    @property
    def rank(self) -> int:
        """Number of independent compositions among the frames: so many energies say nothing."""
        return len(self._directions)

    def __call__(self, frames: Sequence[Frame]) -> np.ndarray:
        """Σ e0 of structures, ``(n_frames,)`` in eV."""
        return compositions(frames, self._elements) @ self.energies

    def spans(self, frames: Sequence[Frame]) -> np.ndarray:
        """Whether the compositions fitted to fix Σ e0 of structures, ``(n_frames,)`` bool.

        Frames of ethanol alone say nothing of the sum for methanol, as they leave open how much of
        it belongs to carbon.
        """
        wanted = compositions(frames, self._elements)
        rest = wanted - wanted @ self._directions.T @ self._directions
        return np.abs(rest).max(axis=1) < _TOLERANCE


def compositions(frames: Sequence[Frame], elements: Sequence[int] | np.ndarray) -> np.ndarray:
    """Number of atoms of each element, ``(n_frames, n_elements)``."""
    wanted = np.asarray(elements)
    counts = [(frame.atoms.numbers[:, None] == wanted).sum(axis=0) for frame in frames]
    return np.array(counts, dtype=float).reshape(len(frames), len(wanted))


def _row_space(fitted: np.ndarray) -> np.ndarray:
    """An orthonormal basis of what compositions span, ``(rank, n_elements)``."""
    unique = np.unique(fitted, axis=0)
    _, _, directions = np.linalg.svd(unique, full_matrices=False)
    return directions[: np.linalg.matrix_rank(unique)]
