"""Edges of displaced structures, without a search for neighbours in the training step.

A list with a skin, made once per structure, holds every pair of atoms that can come within the
cutoff while no atom moves further than its *reach*. Most pairs are within the cutoff wherever
the atoms go; the others, in a thin shell around it, are filtered by distance each time. So the
edges are exactly those within the cutoff, which every interaction block needs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .frame_checks import digest

#: memory for lists that are kept, in bytes per process; those of more structures are made each time
MEMORY = 1 << 30
#: added to distances that are compared with those of another neighbour list, in Å
_ROUNDING = 1e-5

#: of positions ``(n, 3)``, cell ``(3, 3)``, pbc ``(3,)`` and a cutoff (Å): pairs ``(2, n_pairs)``
#: and the cells by which the second atom is shifted ``(n_pairs, 3)``
Search = Callable[
    [NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_], float],
    tuple[NDArray[np.int64], NDArray[np.float64]],
]


Values = TypeVar("Values")


@dataclasses.dataclass(frozen=True)
class Pairs(Generic[Values]):
    """Pairs of atoms, as arrays or as tensors.

    Attributes:
        index: ``(2, n_pairs)``, the atoms.
        cells: ``(n_pairs, 3)``, cells by which the second is shifted.
        shifts: ``(n_pairs, 3)``, the same in Å.
    """

    index: Values
    cells: Values
    shifts: Values


#: of structures one after the other, on the model's device
Edges = Pairs[Tensor]


@dataclasses.dataclass(frozen=True)
class SkinList:
    """Neighbours of the atoms of one structure.

    Attributes:
        reach: how far each atom may move, in Å.
        inner: pairs that stay within the cutoff.
        shell: pairs that may be within it or not.
    """

    reach: float
    inner: Pairs[NDArray[Any]]
    shell: Pairs[NDArray[Any]]

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
        self._kept: dict[bytes, SkinList] = {}

    def of(
        self,
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
        pbc: NDArray[np.bool_],
        reach: float,
    ) -> SkinList:
        """The list of a structure.

        Args:
            positions: ``(n_atoms, 3)`` in Å.
            cell: ``(3, 3)`` in Å.
            pbc: ``(3,)``.
            reach: how far its atoms may move, at least, in Å.
        """
        identity = digest(positions.tobytes(), cell.tobytes(), pbc.tobytes())
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
        parts = (Pairs(index[:, part], cells[part], shifts[part]) for part in (inner, ~inner))
        return SkinList(reach, *parts)


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
        starts = [0, *np.cumsum(sizes)[:-1].tolist()]
        self._inner = [(start, skin.inner) for start, skin in zip(starts, lists)]
        self._n_inner = sum(pairs.index.shape[1] for _, pairs in self._inner)
        shells = [skin.shell for skin in lists]
        first, second = np.concatenate([pairs.index for pairs in shells], axis=1)
        offsets = np.repeat(starts, [pairs.index.shape[1] for pairs in shells])
        self._shell = first + offsets, second + offsets
        self._shell_cells = np.concatenate([pairs.cells for pairs in shells])
        self._shell_shifts = np.concatenate([pairs.shifts for pairs in shells])

    def at(self, positions: Tensor) -> Edges:
        """Those within the cutoff at positions ``(n_atoms, 3)`` in Å, on the CPU."""
        points, (first, second) = positions.double().numpy(), self._shell
        distance = points.take(second, axis=0)
        distance -= points.take(first, axis=0)
        distance += self._shell_shifts
        inside = np.flatnonzero(np.einsum("ij,ij->i", distance, distance) < self._r_max**2)
        n = self._n_inner + len(inside)
        index = torch.empty(2, n, dtype=torch.long)
        cells, shifts = (torch.empty(n, 3, dtype=positions.dtype) for _ in range(2))
        to_index, to_cells, to_shifts = index.numpy(), cells.numpy(), shifts.numpy()
        begin = 0
        for start, pairs in self._inner:
            end = begin + pairs.index.shape[1]
            np.add(pairs.index, start, out=to_index[:, begin:end])
            to_cells[begin:end] = pairs.cells
            to_shifts[begin:end] = pairs.shifts
            begin = end
        to_index[0, begin:] = first[inside]
        to_index[1, begin:] = second[inside]
        to_cells[begin:] = self._shell_cells.take(inside, axis=0)
        to_shifts[begin:] = self._shell_shifts.take(inside, axis=0)
        on_device = (part.to(self._device, non_blocking=True) for part in (index, cells, shifts))
        return Edges(*on_device)
