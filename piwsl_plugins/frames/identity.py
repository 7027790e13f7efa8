"""Structures found by what they are, in a time that does not grow with their number.

Whoever asks whether two structures are the same asks here. The comparison is that of
:class:`~piwsl_plugins.frames.structure.Structure`, with its tolerances; positions are compared
modulo the vectors of periodic directions. That costs a time proportional to the number of atoms.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from .structure import TOLERANCE, Array, Structure

#: number of coordinates by which structures of the same atoms are sorted into boxes
N_SORTED = 8
#: how far these may differ between two that are the same, in tolerances: in periodic directions √3
#: from the three coordinates, and 3√3/2 from the three vectors of the cell
REACH, PERIODIC_REACH = 1.001, 4.4
#: edge of a box, in reaches
EDGE = 10.0
#: structures that decide which coordinates these are, and that are sorted at a time
N_DECIDING, BLOCK = 1024, 1024
#: two at the same positions to this, in Å, need no comparison modulo vectors
EXACT = 1e-5


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
        elements = structure.numbers.tobytes()
        same = self._same.get(elements + structure.pbc.tobytes())
        if same is None:
            return None
        if not structure.pbc.any():
            return self._first(structure, same.near(structure))
        # as it stands, which costs less, modulo the cell, and then, further apart, as it stands: of
        # atoms many cells away from the first one, small differences of the cell change the place
        # within it
        placed = self._placed[elements].near(structure)
        number = self._first(structure, placed)
        if number is not None and self._distance(structure, number) <= EXACT:
            return number
        wrapped = self._first(structure, same.near(structure))
        return number if wrapped is None else wrapped

    def _first(self, structure: Structure, numbers: Iterable[int]) -> int | None:
        """The first of some structures that is the same."""
        for number in numbers:
            if not structure.difference(self._structures[number]):
                return number
        return None

    def _distance(self, structure: Structure, number: int) -> float:
        """Largest difference of a coordinate from another structure, as they stand, in Å."""
        return float(np.abs(self._structures[number].positions - structure.positions).max())

    def find_or_add(self, structure: Structure) -> tuple[int, bool]:
        """Number of the same structure, which is added if it is new, and whether it was."""
        number = self.find(structure)
        return (self.add(structure), True) if number is None else (number, False)

    def copies(self, number: int) -> list[int]:
        """Numbers of the other entries that are one of them, in periodic directions modulo these.

        Closer than two that are found as one: to :data:`EXACT`.
        """
        structure = self._structures[number]
        elements = structure.numbers.tobytes()
        group = self._same[elements + structure.pbc.tobytes()]
        return [
            other
            for other in group.near(structure, EXACT)
            if other != number and not structure.difference(self._structures[other])
        ]

    def near_misses(self, structure: Structure) -> dict[int, str]:
        """Structures with the same atoms at the same positions that are others, and why."""
        elements = structure.numbers.tobytes()
        groups = [self._placed.get(elements)]
        if structure.pbc.any():
            groups.insert(0, self._same.get(elements + structure.pbc.tobytes()))
        numbers = (n for group in groups if group is not None for n in group.near(structure))
        others = {n: self._structures[n] for n in numbers}
        reasons = {number: other.difference(structure) for number, other in others.items()}
        return {number: reason for number, reason in reasons.items() if reason}


class _Group:
    """Structures of the same atoms, in boxes by the coordinates in which they differ most.

    Which these are is decided anew each time that the number of structures has doubled.
    """

    def __init__(self, periodic: bool = True) -> None:
        """Args: periodic: whether positions count modulo the vectors of periodic directions."""
        self._periodic = periodic
        self._numbers: list[int] = []
        self._structures: list[Structure] = []
        self._columns: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._boxes: dict[tuple[float, ...], list[int]] = {}
        self._n_decided = 0
        self._n_boxed = 0
        self._reach = TOLERANCE * REACH

    def add(self, number: int, structure: Structure) -> None:
        """Take in a structure with these atoms and, if they count, periodic directions."""
        if not self._numbers and self._periodic and structure.pbc.any():
            self._reach = TOLERANCE * PERIODIC_REACH
        self._numbers.append(number)
        self._structures.append(structure)

    def near(self, structure: Structure, within: float = TOLERANCE) -> list[int]:
        """Numbers of structures at the same positions (to ``within`` Å), the nearest ones first."""
        self._fill()
        point = self._coordinates([structure], self._columns)[0] / self._reach
        low = np.floor((point - 1.0) / EDGE).tolist()
        high = np.floor((point + 1.0) / EDGE).tolist()
        corners = [tuple(low)] if low == high else itertools.product(*map(set, zip(low, high)))
        rows = [row for corner in corners for row in self._boxes.get(corner, ())]
        if not rows:
            return []
        distances = self._distances(structure, rows)
        order = np.argsort(distances, kind="stable") if len(rows) > 1 else (0,)
        return [self._numbers[rows[i]] for i in order if distances[i] <= within]

    def _fill(self) -> None:
        """Put into boxes what has been added since the last time."""
        n = len(self._structures)
        if n > 2 * self._n_decided:
            step = -(-n // N_DECIDING)
            coordinates = self._coordinates(self._structures[::step], None)
            self._columns = np.argsort(-np.var(coordinates, axis=0), kind="stable")[:N_SORTED]
            self._boxes, self._n_boxed, self._n_decided = {}, 0, n
        for first in range(self._n_boxed, n, BLOCK):
            points = self._coordinates(self._structures[first : first + BLOCK], self._columns)
            boxes = np.floor(points / (self._reach * EDGE)).tolist()
            for row, box in enumerate(boxes, start=first):
                self._boxes.setdefault(tuple(box), []).append(row)
        self._n_boxed = n

    def _coordinates(
        self, structures: Sequence[Structure], columns: NDArray[np.int64] | None
    ) -> Array:
        """Numbers that hardly differ between two that are the same, in Å.

        In periodic directions they are those of points on circles, whose circumference is the
        distance of the cell's faces, so that they do not jump where an atom crosses a face.

        Args:
            structures: any of these atoms, all periodic in the same directions.
            columns: which of them; None for all.

        Returns:
            ``(n_structures, n_columns)``.
        """
        n = len(structures)
        positions = np.array([structure.positions for structure in structures])
        if not self._periodic or not structures[0].pbc.any():
            flat = positions.reshape(n, -1)
            return flat if columns is None else flat.take(columns, axis=1)
        found = [_reciprocal(one.cell.tobytes(), one.pbc.tobytes()) for one in structures]
        inverse, radii = (np.array(each) for each in zip(*found))
        fractions = (positions @ inverse).reshape(n, -1)
        if columns is None:
            columns = np.arange(2 * fractions.shape[1])
        # cos, and a quarter of a turn away sin
        which = columns >> 1
        turned = fractions.take(which, axis=1) - 0.25 * (columns & 1)
        coordinates: Array = np.cos((2.0 * np.pi) * turned)
        coordinates *= radii.take(which % radii.shape[1], axis=1)
        return coordinates

    def _distances(self, structure: Structure, rows: list[int]) -> Array:
        """Largest difference of a coordinate from each of some structures, in Å."""
        others = np.array([self._structures[row].positions for row in rows])
        apart = others - structure.positions
        if self._periodic and structure.pbc.any():
            inverse, _ = _reciprocal(structure.cell.tobytes(), structure.pbc.tobytes())
            apart -= np.rint(apart @ inverse) @ structure.cell[structure.pbc]
        distances: Array = np.abs(apart).reshape(len(rows), -1).max(axis=1)
        return distances


@functools.lru_cache(maxsize=64)
def _reciprocal(cell: bytes, pbc: bytes) -> tuple[Array, Array]:
    """What fractions of periodic vectors are found with, and the radii of the circles.

    Args:
        cell: ``(3, 3)`` in Å.
        pbc: ``(3,)``.

    Returns:
        ``(3, n_periodic)`` in 1/Å, and ``(n_periodic,)`` in Å.
    """
    vectors = np.frombuffer(cell).reshape(3, 3)[np.frombuffer(pbc, dtype=bool)]
    inverse = np.linalg.solve(vectors @ vectors.T, vectors).T
    return inverse, 1.0 / (2.0 * np.pi * np.linalg.norm(inverse, axis=0))
