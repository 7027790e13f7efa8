"""Offsets between two methods: an energy for each element, by least squares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...frames.element_energies import ElementEnergies, compositions
from ...frames.reading import Frame


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
        self._elements = elements
        self._fitted = ElementEnergies(self._counts(frames), np.array(differences))

    def _counts(self, frames: Sequence[Frame]) -> np.ndarray:
        return compositions([frame.atoms.numbers for frame in frames], self._elements)

    @property
    def energies(self) -> np.ndarray:
        """Of each element, ``(n_elements,)`` in eV."""
        return self._fitted.energies

    @property
    def rank(self) -> int:
        """Number of independent compositions among the frames: so many energies say nothing."""
        return self._fitted.rank

    def __call__(self, frames: Sequence[Frame]) -> np.ndarray:
        """Σ e0 of structures, ``(n_frames,)`` in eV."""
        return self._fitted(self._counts(frames))

    def spans(self, frames: Sequence[Frame]) -> np.ndarray:
        """Whether the compositions fitted to fix Σ e0 of structures, ``(n_frames,)`` bool."""
        return self._fitted.spans(self._counts(frames))
