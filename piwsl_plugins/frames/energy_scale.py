"""Whether the energies of two sets of structures are of one scale."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .element_energies import ElementEnergies

_ELEMENTS = 119
#: eV per atom; no bond is worth so much
IMPOSSIBLE = 10.0
#: eV per atom; structures of one use seldom differ by so much on average
UNLIKELY = 0.5


class Energies:
    """Energies of structures, kept as the mean of each composition."""

    def __init__(self) -> None:
        self._sums: dict[bytes, tuple[int, float]] = {}

    def add(self, numbers: NDArray[np.int64], energy: float) -> None:
        """Take in a structure.

        Args:
            numbers: ``(n_atoms,)``, atomic numbers.
            energy: in eV.
        """
        key = np.bincount(numbers, minlength=_ELEMENTS).tobytes()
        n, total = self._sums.get(key, (0, 0.0))
        self._sums[key] = n + 1, total + energy

    def __bool__(self) -> bool:
        return bool(self._sums)

    def __iter__(self) -> Iterator[tuple[bytes, int, float]]:
        """Composition, number of structures and mean energy (eV)."""
        return ((key, n, total / n) for key, (n, total) in self._sums.items())


def distance(energies: Energies, others: Energies) -> float:
    """How far energies lie from what others say of the same compositions.

    An energy for each element is fitted to the others; counted are structures whose composition
    these fix.

    Returns:
        the mean difference in eV per atom; 0 if nothing can be compared.
    """
    if not (energies and others):
        return 0.0
    fitted = ElementEnergies(*_table(others)[:2])
    compositions, means, counts = _table(energies)
    fixed = fitted.spans(compositions)
    if not fixed.any():
        return 0.0
    differences = (means - fitted(compositions)) / compositions.sum(axis=1)
    return float(np.average(differences[fixed], weights=counts[fixed]))


def _table(energies: Energies) -> tuple[NDArray[np.float64], ...]:
    """Compositions ``(n, 119)``, mean energies and numbers of structures ``(n,)``."""
    keys, counts, means = zip(*energies, strict=True)
    compositions = [np.frombuffer(key, dtype=np.int64) for key in keys]
    return tuple(np.array(each, dtype=float) for each in (compositions, means, counts))
