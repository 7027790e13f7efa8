"""What a pool covers beside the given frames: distances, and a map of the structures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from ...frames.bonds import bonds
from .pair_names import pair_name

Some = TypeVar("Some")
#: distances up to this are looked at (Å)
CUTOFF = 5.0
#: width of the intervals of distances in which pool and given frames are compared (Å)
INTERVAL = 0.05
#: so many structures, evenly spaced, speak for all
_LOOKED_AT = 500
#: spread of a distance in the descriptor of a structure, and its grid (Å)
_SMEARING, _GRID = 0.1, np.arange(0.6, CUTOFF, 0.1)


@dataclasses.dataclass(frozen=True)
class Distances:
    """Distances (Å) of bonded atoms of two elements.

    Attributes:
        pair: the elements, as in "C–H".
        given: of the given frames.
        pool: of the pool.
    """

    pair: str
    given: np.ndarray
    pool: np.ndarray

    @property
    def covered(self) -> float:
        """Share of the given distances in intervals that the pool fills too."""
        filled = np.unique(np.floor(self.pool / INTERVAL))
        return float(np.isin(np.floor(self.given / INTERVAL), filled).mean())


def evenly(structures: Sequence[Some], at_most: int = _LOOKED_AT) -> list[Some]:
    """At most so many, evenly spaced."""
    places = np.linspace(0, len(structures) - 1, min(at_most, len(structures)))
    return [structures[int(place)] for place in np.round(places)]


def distances_of(structures: Sequence[Atoms], bonded: bool) -> dict[str, np.ndarray]:
    """Distances (Å) by elements, such as "C–H", the most frequent first.

    Args:
        structures: those, or evenly spaced ones of many.
        bonded: whether those of bonded atoms are wanted, otherwise all up to :data:`CUTOFF`.
    """
    by_pair: dict[tuple[int, int], list[np.ndarray]] = {}
    for atoms in evenly(structures):
        for pair, distances in _by_elements(atoms, bonded).items():
            by_pair.setdefault(pair, []).append(distances)
    together = {pair: np.concatenate(parts) for pair, parts in by_pair.items()}
    ordered = sorted(together, key=lambda pair: (-len(together[pair]), pair))
    return {pair_name(*pair): together[pair] for pair in ordered}


def compare_bonds(given: Sequence[Atoms], pool: Sequence[Atoms]) -> list[Distances]:
    """Distances of bonded atoms, by elements that given frames and pool both have."""
    there, here = distances_of(given, bonded=True), distances_of(pool, bonded=True)
    return [Distances(pair, there[pair], here[pair]) for pair in here if pair in there]


def describe(atoms: Atoms, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """A structure as smooth histograms of its distances, one per pair of elements, per atom.

    Args:
        atoms: the structure.
        pairs: atomic numbers of the pairs, smaller first.

    Returns:
        ``(n_pairs * n_grid,)``.
    """
    found = _by_elements(atoms, bonded=False)
    rows = []
    for pair in pairs:
        distances = found.get(pair, np.zeros(0))
        fade = 0.5 * (1 + np.cos(np.pi * distances / CUTOFF))
        peaks = np.exp(-0.5 * ((_GRID[:, None] - distances) / _SMEARING) ** 2)
        rows.append(peaks @ fade / len(atoms))
    return np.concatenate(rows)


def map_of(structures: Sequence[Atoms]) -> tuple[np.ndarray, np.ndarray]:
    """The two directions in which structures differ most.

    Args:
        structures: three or more.

    Returns:
        coordinates ``(n, 2)``, and the two shares of the variance of the descriptors.
    """
    elements = sorted({int(z) for atoms in structures for z in atoms.numbers})
    pairs = [(a, b) for i, a in enumerate(elements) for b in elements[i:]]
    rows = np.stack([describe(atoms, pairs) for atoms in structures])
    rows -= rows.mean(axis=0)
    left, sizes, _ = np.linalg.svd(rows, full_matrices=False)
    variance = sizes**2 / max(float((sizes**2).sum()), np.finfo(float).tiny)
    return left[:, :2] * sizes[:2], variance[:2]


def _by_elements(atoms: Atoms, bonded: bool) -> dict[tuple[int, int], np.ndarray]:
    if bonded:
        first, second, vectors = bonds(atoms)
        distances = np.linalg.norm(vectors, axis=1)
    else:
        first, second, distances = neighbor_list("ijd", atoms, CUTOFF)
    once = first <= second
    numbers = np.sort(np.stack([atoms.numbers[first], atoms.numbers[second]]), axis=0)[:, once]
    distances = distances[once]
    kinds, place = np.unique(numbers, axis=1, return_inverse=True)
    return {(int(a), int(b)): distances[place == n] for n, (a, b) in enumerate(kinds.T)}
