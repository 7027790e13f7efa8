"""Offsets between two methods: an energy for each element, by least squares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...frames.element_energies import ElementEnergies
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
        self._elements = np.array(elements)
        self._fitted = ElementEnergies(compositions(frames, elements), np.array(differences))

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
        return self._fitted(compositions(frames, self._elements))

    def spans(self, frames: Sequence[Frame]) -> np.ndarray:
        """Whether the compositions fitted to fix Σ e0 of structures, ``(n_frames,)`` bool."""
        return self._fitted.spans(compositions(frames, self._elements))


def compositions(frames: Sequence[Frame], elements: Sequence[int] | np.ndarray) -> np.ndarray:
    """Number of atoms of each element, ``(n_frames, n_elements)``."""
    wanted = np.asarray(elements)
    counts = [(frame.atoms.numbers[:, None] == wanted).sum(axis=0) for frame in frames]
    return np.array(counts, dtype=float).reshape(len(frames), len(wanted))
