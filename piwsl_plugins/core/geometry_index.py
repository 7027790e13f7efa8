"""Structures found by their geometry, in a time that does not grow with their number."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: width in Å of the intervals that coordinates are sorted into
WIDTH = 0.02
#: number of coordinates that are sorted by
N_SORTED = 6

Array = NDArray[np.float64]


class GeometryIndex:
    """Numbers of structures by atoms and positions, within a tolerance."""

    def __init__(self, structures: Iterable[tuple[ArrayLike, ArrayLike]], tolerance: float) -> None:
        """
        Args:
            structures: atomic numbers ``(n_atoms,)`` and positions ``(n_atoms, 3)`` in Å of each.
            tolerance: largest difference of a coordinate, in Å.
        """
        members: dict[bytes, tuple[list[int], list[Array]]] = {}
        for index, (numbers, positions) in enumerate(structures):
            indices, rows = members.setdefault(_key(numbers), ([], []))
            indices.append(index)
            rows.append(np.asarray(positions, dtype=float).reshape(-1))
        self._groups = {key: _Group(*group, tolerance) for key, group in members.items()}

    def find(self, numbers: ArrayLike, positions: ArrayLike) -> int | None:
        """Number of the nearest structure with these atoms in this order; None if none is near."""
        group = self._groups.get(_key(numbers))
        return None if group is None else group.find(np.asarray(positions).reshape(-1))


def _key(numbers: ArrayLike) -> bytes:
    return np.asarray(numbers, dtype=np.int64).tobytes()


class _Group:
    """Structures of the same atoms, sorted by the coordinates in which they differ most."""

    def __init__(self, indices: list[int], rows: list[Array], tolerance: float) -> None:
        self.indices, self.tolerance = indices, tolerance
        self.rows = np.stack(rows)  # (n_structures, 3 n_atoms)
        self.sorted_by = np.argsort(-np.var(self.rows, axis=0))[:N_SORTED]
        cells = np.floor(self.rows[:, self.sorted_by] / WIDTH).astype(np.int64)
        # of each cell the first structure, and of each structure the next one of its cell
        self.first: dict[bytes, int] = {}
        self.next = np.full(len(rows), -1)
        for row in range(len(rows) - 1, -1, -1):
            cell = cells[row].tobytes()
            self.next[row] = self.first.get(cell, -1)
            self.first[cell] = row

    def find(self, point: Array) -> int | None:
        """Number of the structure nearest to a point, ``(3 n_atoms,)`` in Å."""
        rows = sorted(self._near(point))
        if not rows:
            return None
        differences = np.abs(self.rows[rows] - point).max(axis=1)
        nearest = int(differences.argmin())
        return self.indices[rows[nearest]] if differences[nearest] <= self.tolerance else None

    def _near(self, point: Array) -> Iterator[int]:
        """Rows of the cell of a point, and of those within the tolerance of it."""
        chosen = point[self.sorted_by].astype(np.float64)
        reach = 1.001 * self.tolerance  # a difference of the tolerance itself is within it
        low = np.floor((chosen - reach) / WIDTH).astype(np.int64)
        high = np.floor((chosen + reach) / WIDTH).astype(np.int64)
        for cell in itertools.product(*map(set, zip(low.tolist(), high.tolist()))):
            row = self.first.get(np.array(cell).tobytes(), -1)
            while row >= 0:
                yield row
                row = int(self.next[row])
