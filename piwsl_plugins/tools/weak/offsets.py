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
        self._compositions = self._of(frames)
        self.energies = np.linalg.lstsq(self._compositions, np.array(differences), rcond=None)[0]

    def __call__(self, frames: Sequence[Frame]) -> np.ndarray:
        """Σ e0 of structures, ``(n_frames,)`` in eV."""
        return self._of(frames) @ self.energies

    def spans(self, frames: Sequence[Frame]) -> np.ndarray:
        """Whether the compositions fitted to fix Σ e0 of structures, ``(n_frames,)`` bool.

        Frames of ethanol alone say nothing of the sum for methanol, as they leave open how much of
        it belongs to carbon.
        """
        compositions = self._of(frames)
        fitted = np.linalg.lstsq(self._compositions.T, compositions.T, rcond=None)[0]
        rest = compositions - (self._compositions.T @ fitted).T
        return np.abs(rest).max(axis=1) < _TOLERANCE

    def _of(self, frames: Sequence[Frame]) -> np.ndarray:
        """Number of atoms of each element, ``(n_frames, n_elements)``."""
        counts = [(frame.atoms.numbers[:, None] == self._elements).sum(axis=0) for frame in frames]
        return np.array(counts, dtype=float).reshape(len(frames), len(self._elements))
