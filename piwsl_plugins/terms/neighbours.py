"""Edges of displaced structures, without a search for neighbours in the training step.

A list with a skin, made once per structure, holds every pair of atoms that can come within the
cutoff while no atom moves further than its *reach*. Most pairs are within the cutoff wherever
the atoms go; the others, in a thin shell around it, are filtered by distance each time. So the
edges are exactly those within the cutoff, which every interaction block needs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: memory for lists that are kept, in bytes per process; those of more structures are made each time
MEMORY = 1 << 30
#: structures are filtered together as long as they have fewer pairs in the shell: more at once
#: leave the processor's cache, fewer are mostly calls
TOGETHER = 4000
#: added to distances that are compared with those of another neighbour list, in Å
_ROUNDING = 1e-5

#: of positions ``(n, 3)``, cell ``(3, 3)``, pbc ``(3,)`` and a cutoff (Å): pairs ``(2, n_pairs)``
#: and the cells by which the second atom is shifted ``(n_pairs, 3)``
Search = Callable[
    [NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_], float],
    tuple[NDArray[np.int64], NDArray[np.float64]],
]


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of atoms.

    Attributes:
        index: ``(2, n_pairs)``, the atoms.
        cells: ``(n_pairs, 3)``, cells by which the second is shifted, small integers.
        shifts: ``(n_pairs, 3)``, the same in Å.
    """

    index: NDArray[np.int64]
    cells: NDArray[np.int16]
    shifts: NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class SkinList:
    """Neighbours of the atoms of one structure.

    Attributes:
        reach: how far each atom may move, in Å.
        inner: pairs that stay within the cutoff.
        shell: pairs that may be within it or not.
    """

    reach: float
    inner: Pairs
    shell: Pairs

    @property
    def n_bytes(self) -> int:
        """Memory that it takes."""
        parts = (self.inner, self.shell)
        return sum(p.index.nbytes + p.cells.nbytes + p.shifts.nbytes for p in parts)


class NeighbourLists:
    """Lists with a skin, made once per structure as long as there is memory for them."""

    def __init__(self, search: Search, r_max: float, memory: int = MEMORY) -> None:
        """
        Args:
            search: the framework's search for neighbours.
            r_max: cutoff of the model in Å.
            memory: for lists that are kept, in bytes.
        """
        self.r_max = r_max
        self._search, self._free = search, memory
        self._kept: dict[Hashable, SkinList] = {}

    def of(
        self,
        identity: Hashable,
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
        pbc: NDArray[np.bool_],
        reach: float,
    ) -> SkinList:
        """The list of a structure.

        Args:
            identity: what tells it from others (:meth:`~.host.Structures.identity`).
            positions: ``(n_atoms, 3)`` in Å.
            cell: ``(3, 3)`` in Å.
            pbc: ``(3,)``.
            reach: how far its atoms may move, at least, in Å.
        """
        kept = self._kept.get(identity)
        if kept is not None and kept.reach >= reach:
            return kept
        made = self._make(positions, cell, pbc, reach)
        size = made.n_bytes - (0 if kept is None else kept.n_bytes)
        if size <= self._free:
            self._kept[identity] = made
            self._free -= size
        return made

    def _make(
        self,
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
        pbc: NDArray[np.bool_],
        reach: float,
    ) -> SkinList:
        skin = 2.0 * reach + _ROUNDING
        index, cells = self._search(positions, cell, pbc, self.r_max + skin)
        shifts = cells @ np.where(pbc[:, None], cell, 0.0)
        distance = np.linalg.norm(positions[index[1]] - positions[index[0]] + shifts, axis=1)
        inner = distance < self.r_max - skin
        small = cells.astype(np.int16)
        parts = (Pairs(index[:, part], small[part], shifts[part]) for part in (inner, ~inner))
        return SkinList(reach, *parts)


@dataclasses.dataclass(frozen=True)
class _Group:
    """Some structures, one after the other.

    Attributes:
        start, end: their atoms.
        inner: of each the number of its first atom, and pairs counted from it.
        shell: of all, counted from the group's first atom.
    """

    start: int
    end: int
    inner: list[tuple[int, Pairs]]
    shell: Pairs

    @classmethod
    def of(cls, lists: Sequence[SkinList], starts: Sequence[int], end: int) -> _Group:
        shells = [skin.shell for skin in lists]
        shell = shells[0]
        if len(shells) > 1:
            index = np.concatenate([pairs.index for pairs in shells], axis=1)
            offsets = np.subtract(starts, starts[0])
            index += np.repeat(offsets, [pairs.index.shape[1] for pairs in shells])
            cells = np.concatenate([pairs.cells for pairs in shells])
            shell = Pairs(index, cells, np.concatenate([pairs.shifts for pairs in shells]))
        inner = [(start, skin.inner) for start, skin in zip(starts, lists)]
        return cls(starts[0], end, inner, shell)

    def inside(self, points: NDArray[np.float64], r_max: float) -> NDArray[np.int64]:
        """The pairs of the shell that are within the cutoff."""
        own, (first, second) = points[self.start : self.end], self.shell.index
        distance = own.take(second, axis=0)
        distance -= own.take(first, axis=0)
        distance += self.shell.shifts
        np.square(distance, out=distance)
        x, y, z = distance.T
        return np.flatnonzero(x + y + z < r_max**2)


class DisplacedEdges:
    """Edges of some structures wherever their atoms are displaced to."""

    def __init__(
        self, lists: Sequence[SkinList], sizes: Sequence[int], r_max: float, device: torch.device
    ) -> None:
        """
        Args:
            lists: of the structures.
            sizes: their numbers of atoms.
            r_max: cutoff of the model in Å.
            device: the model's.
        """
        self._r_max, self._device = r_max, device
        ends = np.cumsum(sizes).tolist()
        starts = [end - size for end, size in zip(ends, sizes)]
        self._groups, begin, n_pairs = [], 0, 0
        for last, skin in enumerate(lists, 1):
            n_pairs += len(skin.shell.cells)
            if n_pairs >= TOGETHER or last == len(lists):
                group = _Group.of(lists[begin:last], starts[begin:last], ends[last - 1])
                self._groups.append(group)
                begin, n_pairs = last, 0

    def at(self, positions: Tensor) -> Edges:
        """Those within the cutoff at positions ``(n_atoms, 3)`` in Å, on the CPU."""
        points = positions.double().numpy()
        insides = [group.inside(points, self._r_max) for group in self._groups]
        return Edges(self._groups, insides, positions.dtype, self._device)


class Edges:
    """Edges of structures one after the other; a part is put together when it is asked for."""

    def __init__(
        self,
        groups: Sequence[_Group],
        insides: Sequence[NDArray[np.int64]],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """
        Args:
            groups: of the structures.
            insides: pairs of their shells that are edges.
            dtype: of cells and shifts.
            device: for all parts.
        """
        self._groups, self._insides = groups, insides
        self._dtype, self._device = dtype, device

    def __len__(self) -> int:
        n_inner = (len(pairs.cells) for group in self._groups for _, pairs in group.inner)
        return sum(n_inner) + sum(map(len, self._insides))

    def index(self) -> Tensor:
        """``(2, n_edges)``, the atoms."""
        made = torch.empty(2, len(self), dtype=torch.long)
        to, begin = made.numpy(), 0
        for group, inside in zip(self._groups, self._insides):
            near = group.shell.index.take(inside, axis=1)
            for start, index in (*((s, p.index) for s, p in group.inner), (group.start, near)):
                end = begin + index.shape[1]
                np.add(index, start, out=to[:, begin:end])
                begin = end
        return made.to(self._device, non_blocking=True)

    def cells(self) -> Tensor:
        """``(n_edges, 3)``, cells by which the second atom is shifted."""
        return self._rows("cells")

    def shifts(self) -> Tensor:
        """``(n_edges, 3)``, the same in Å."""
        return self._rows("shifts")

    def _rows(self, name: str) -> Tensor:
        made = torch.empty(len(self), 3, dtype=self._dtype)
        to, begin = made.numpy(), 0
        for group, inside in zip(self._groups, self._insides):
            near = getattr(group.shell, name).take(inside, axis=0)
            for rows in (*(getattr(pairs, name) for _, pairs in group.inner), near):
                end = begin + len(rows)
                to[begin:end] = rows
                begin = end
        return made.to(self._device, non_blocking=True)
