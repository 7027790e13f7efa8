"""Structures found by what they are, in a time that does not grow with their number.

Whoever asks whether two structures are the same asks here. The comparison is that of
:class:`~piwsl_plugins.frames.structure.Structure`, with its tolerances; positions are compared
modulo the vectors of periodic directions. That costs a time proportional to the number of atoms.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .structure import TOLERANCE, Array, Structure

#: number of coordinates that structures of the same atoms are sorted by
N_SORTED = 6
#: how far these may differ between two that are the same, in tolerances: rounding, and what
#: differences of the cell do to them
REACH = 8.0
#: structures that have been added since the last sorting are looked at one by one
UNSORTED = 64


class StructureIndex:
    """Structures by number, in the order in which they were added."""

    def __init__(self, structures: Iterable[Structure] = ()) -> None:
        """Args: structures: the first ones."""
        self._same: dict[bytes, _Group] = {}
        self._placed: dict[bytes, _Group] = {}
        self._structures: list[Structure] = []
        for structure in structures:
            self.add(structure)

    def __len__(self) -> int:
        return len(self._structures)

    def __getitem__(self, number: int) -> Structure:
        return self._structures[number]

    def add(self, structure: Structure) -> int:
        """Take in a structure, as often as it is given.

        Returns:
            its number, from 0.
        """
        number = len(self._structures)
        self._structures.append(structure)
        elements = structure.numbers.tobytes()
        self._same.setdefault(elements + structure.pbc.tobytes(), _Group()).add(number, structure)
        self._placed.setdefault(elements, _Group(periodic=False)).add(number, structure)
        return number

    def find(self, structure: Structure) -> int | None:
        """Number of the same structure, the nearest one if there are several; None if none is."""
        group = self._same.get(structure.numbers.tobytes() + structure.pbc.tobytes())
        for number in () if group is None else group.near(structure):
            if not structure.difference(self._structures[number]):
                return number
        return None

    def find_or_add(self, structure: Structure) -> tuple[int, bool]:
        """Number of the same structure, which is added if it is new, and whether it was."""
        number = self.find(structure)
        return (self.add(structure), True) if number is None else (number, False)

    def near_misses(self, structure: Structure) -> dict[int, str]:
        """Structures with the same atoms at the same positions that are others, and why."""
        elements = structure.numbers.tobytes()
        groups = (self._same.get(elements + structure.pbc.tobytes()), self._placed.get(elements))
        numbers = (n for group in groups if group is not None for n in group.near(structure))
        others = {n: self._structures[n] for n in numbers}
        reasons = {number: other.difference(structure) for number, other in others.items()}
        return {number: reason for number, reason in reasons.items() if reason}


class _Group:
    """Structures of the same atoms, sorted by the coordinates in which they differ most."""

    def __init__(self, periodic: bool = True) -> None:
        """Args: periodic: whether positions count modulo the vectors of periodic directions."""
        self._periodic = periodic
        self._numbers: list[int] = []
        self._structures: list[Structure] = []
        self._n_sorted = 0
        self._columns: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._tree: cKDTree | None = None

    def add(self, number: int, structure: Structure) -> None:
        """Take in a structure with these atoms."""
        self._numbers.append(number)
        self._structures.append(structure)

    def near(self, structure: Structure) -> list[int]:
        """Numbers of structures at the same positions, the nearest ones first."""
        if len(self._structures) - self._n_sorted > max(UNSORTED, self._n_sorted):
            self._sort()
        rows = list(range(self._n_sorted, len(self._structures)))
        if self._tree is not None:
            point = self._coordinates(structure)[self._columns]
            rows += self._tree.query_ball_point(point, REACH * TOLERANCE, p=np.inf)
        if not rows:
            return []
        distances = self._distances(structure, rows)
        order = np.argsort(distances, kind="stable")
        return [self._numbers[rows[i]] for i in order if distances[i] <= TOLERANCE]

    def _sort(self) -> None:
        coordinates = np.stack([self._coordinates(one) for one in self._structures])
        self._columns = np.argsort(-np.var(coordinates, axis=0), kind="stable")[:N_SORTED]
        self._tree = cKDTree(coordinates[:, self._columns])
        self._n_sorted = len(coordinates)

    def _coordinates(self, structure: Structure) -> Array:
        """Numbers that hardly differ between two that are the same, in Å.

        Of a periodic direction a point on a circle for each atom, whose circumference is the
        distance of the cell's faces, so that they do not jump where an atom crosses a face.
        """
        if not self._periodic or not structure.pbc.any():
            return structure.positions.reshape(-1)
        vectors = structure.cell[structure.pbc]
        inverse = np.linalg.pinv(vectors)
        fractions = structure.positions @ inverse
        radii = 1.0 / (2.0 * np.pi * np.linalg.norm(inverse, axis=0))
        across = structure.positions - fractions @ vectors
        angles = 2.0 * np.pi * fractions
        parts = (radii * np.cos(angles), radii * np.sin(angles), across, vectors)
        return np.concatenate([part.reshape(-1) for part in parts])

    def _distances(self, structure: Structure, rows: list[int]) -> Array:
        """Largest difference of a coordinate from each of some structures, in Å."""
        others = np.stack([self._structures[row].positions for row in rows])
        apart = others - structure.positions
        if self._periodic and structure.pbc.any():
            vectors = structure.cell[structure.pbc]
            apart = apart - np.round(apart @ np.linalg.pinv(vectors)) @ vectors
        distances: Array = np.abs(apart).max(axis=(1, 2))
        return distances
