"""What a framework must do so that its models can be trained with PIWSL terms.

A batch is the framework's own: whatever its models are called with, structures of any sizes,
their atoms one after the other. The terms never look into it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..frames.structure import Structure
from .displacements import Keys, geometry_keys
from .neighbours import Edges, NeighbourLists, SkinList

Batch = Any
Output = Any

#: key under which a loader leaves the :class:`Structures` of a batch in it
STRUCTURES = "piwsl_structures"


def plain(batch: Mapping[str, Any]) -> dict[str, Any]:
    """A batch that is a dictionary, without what its loader left there for the terms."""
    return {key: value for key, value in batch.items() if key != STRUCTURES}


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """A model's answer for all structures of a batch, differentiable in its parameters.

    Attributes:
        energy: ``(n_structures,)`` in eV; a constant of a structure may be missing, if it is
            missing at all its displaced copies.
        forces: ``(n_atoms, 3)`` in eV/Å, or None where they were not asked for.
    """

    energy: Tensor
    forces: Tensor | None


@dataclasses.dataclass(frozen=True)
class Structures:
    """What the terms need to know of the structures of a batch, on the CPU.

    Made where the data is loaded, so that nothing is copied back from the model's device.

    Attributes:
        sizes: number of atoms of each.
        positions: ``(n_atoms, 3)`` in Å, in the precision in which the model gets them.
        numbers: ``(n_atoms,)``, atomic numbers.
        cells: ``(n_structures, 3, 3)`` in Å.
        pbc: ``(n_structures, 3)``.
        carry: ``(n_structures,)``, which may carry terms.
        keys: ``(n_structures,)``, from the positions (:func:`~.displacements.geometry_keys`).
        lists: neighbours of each, or None where they have not been looked for.
        charges: ``(n_structures,)``, total charges in e.
        spins: ``(n_structures,)``, multiplicities, NaN where none was given.
        labels: numbers of the Hessian labels of each, −1 where there is none; None where they have
            not been looked for.
    """

    sizes: list[int]
    positions: Tensor
    numbers: Tensor
    cells: NDArray[np.float64]
    pbc: NDArray[np.bool_]
    carry: NDArray[np.bool_]
    keys: Keys
    lists: list[SkinList | None]
    charges: NDArray[np.float64]
    spins: NDArray[np.float64]
    labels: NDArray[np.int64] | None = None

    @classmethod
    def of(
        cls,
        sizes: list[int],
        positions: Tensor,
        numbers: Tensor,
        cells: NDArray[np.float64],
        pbc: NDArray[np.bool_],
        carry: NDArray[np.bool_],
        charges: NDArray[np.float64] | None = None,
        spins: NDArray[np.float64] | None = None,
    ) -> Structures:
        """Arguments as the attributes; lone atoms carry nothing, and none is charged by default."""
        positions, n = positions.detach(), len(sizes)
        keys = geometry_keys(positions, sizes)
        carry = carry & (np.asarray(sizes) > 1)
        charges = np.zeros(n) if charges is None else charges
        spins = np.full(n, np.nan) if spins is None else spins
        return cls(sizes, positions, numbers, cells, pbc, carry, keys, [None] * n, charges, spins)

    @classmethod
    def joined(cls, parts: Sequence[Structures]) -> Structures:
        """Those of several batches, in order."""
        if len(parts) == 1:
            return parts[0]
        values = [[getattr(part, field.name) for part in parts] for field in _FIELDS]
        return cls(*map(_concatenated, values))

    def __len__(self) -> int:
        return len(self.sizes)

    def to(self, device: Any, **keywords: Any) -> Structures:
        """This stays on the CPU when a trainer moves a batch to another device."""
        return self

    def identity(self, index: int) -> Hashable:
        """What tells one from all that are others, for what is kept of it in a process."""
        key, pbc, charge, spin = (a[index] for a in (self.keys, self.pbc, self.charges, self.spins))
        cell = self.cells[index].tobytes() if pbc.any() else b""
        spin = None if np.isnan(spin) else spin.item()
        return key.item(), cell, pbc.tobytes(), charge.item(), spin

    def structure(self, index: int) -> Structure:
        """What one is."""
        end = sum(self.sizes[: index + 1])
        atoms = slice(end - self.sizes[index], end)
        spin = self.spins[index]
        return Structure.of(
            self.numbers[atoms].numpy(),
            self.positions[atoms].double().numpy(),
            self.cells[index],
            self.pbc[index],
            self.charges[index],
            None if np.isnan(spin) else spin,
        )

    def some(self, keep: NDArray[np.bool_]) -> Structures:
        """Those with ``keep``, ``(n_structures,)``."""
        if keep.all():
            return self
        atoms = np.repeat(keep, self.sizes)
        chosen = np.flatnonzero(keep).tolist()
        return Structures(
            sizes=[self.sizes[index] for index in chosen],
            positions=self.positions[atoms],
            numbers=self.numbers[atoms],
            cells=self.cells[keep],
            pbc=self.pbc[keep],
            carry=self.carry[keep],
            keys=self.keys[keep],
            lists=[self.lists[index] for index in chosen],
            charges=self.charges[keep],
            spins=self.spins[keep],
            labels=None if self.labels is None else self.labels[keep],
        )

    def with_lists(
        self, lists: NeighbourLists, reach: float, which: NDArray[np.bool_]
    ) -> Structures:
        """With neighbours of some.

        Args:
            lists: where they are kept.
            reach: how far atoms may move, at least, in Å.
            which: ``(n_structures,)``, of which structures.
        """
        missing = [
            index
            for index in np.flatnonzero(which).tolist()
            if (skin := self.lists[index]) is None or skin.reach < reach
        ]
        if not missing:
            return self
        found, positions = list(self.lists), self.positions.double().numpy()
        ends = np.cumsum(self.sizes).tolist()
        for index in missing:
            points = positions[ends[index] - self.sizes[index] : ends[index]]
            cell, pbc = self.cells[index], self.pbc[index]
            found[index] = lists.of(self.identity(index), points, cell, pbc, reach)
        return dataclasses.replace(self, lists=found)


_FIELDS = dataclasses.fields(Structures)


def _concatenated(values: list[Any]) -> Any:
    if any(value is None for value in values):
        return None
    if isinstance(values[0], list):
        return [one for value in values for one in value]
    return torch.cat(values) if isinstance(values[0], Tensor) else np.concatenate(values)


class Host(Protocol):
    """A framework's model in training.

    Attributes:
        lists: neighbour lists, kept from step to step.
    """

    lists: NeighbourLists

    def describe(self, batch: Batch) -> Structures:
        """What the terms need to know of a batch; as its loader left it there, if it did."""

    def weight(self, batch: Batch) -> Tensor:
        """Weight of each structure in the terms, ``(n_structures,)``, on the model's device."""

    def force_labels(self, batch: Batch) -> Tensor | None:
        """``(n_atoms, 3)`` in eV/Å, NaN where there is none; None without any."""

    def select(self, batch: Batch, keep: NDArray[np.bool_], sizes: list[int]) -> Batch:
        """Some structures, for :meth:`displaced`.

        Args:
            batch: any.
            keep: ``(n_structures,)``, which.
            sizes: numbers of atoms of all.
        """

    def displaced(self, batch: Batch, positions: Tensor, edges: Edges) -> Batch:
        """The selected structures at other positions.

        Args:
            batch: from :meth:`select`.
            positions: ``(n_atoms, 3)`` in Å, on the model's device.
            edges: those within the cutoff there.

        Returns:
            a batch for the model.
        """

    def beside(self, batch: Batch, loaded: Any) -> tuple[Batch, Any]:
        """Structures of a pool that go with a batch, on its device.

        Args:
            batch: of the trainer.
            loaded: what the pool's ``collate_fn`` made of them.

        Returns:
            them as a batch for the model, and their labels as the trainer's losses take them.
        """

    def join(self, batches: Sequence[Batch]) -> Batch:
        """One batch of several, in order."""

    def split(self, output: Output, batches: Sequence[Batch]) -> list[Output]:
        """The model's output for joined batches, taken apart again."""

    def read(self, output: Output) -> Evaluated:
        """Energies and, where the output has them, forces."""

    def evaluate(self, batch: Batch, forces: bool) -> Evaluated:
        """Call the model past the trainer's hooks, with forces or with energies alone."""

    def shares_calls(self, batch: Batch, forces: bool) -> bool:
        """Whether one large call is faster than several, for batches like this one."""
