"""What a framework must do so that the core can train its models with PIWSL terms.

A batch is the framework's own: whatever its models are called with, structures of any sizes,
their atoms one after the other. The core never looks into it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

Batch = Any
Output = Any


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
    """What the core needs to know of the structures of a batch.

    Attributes:
        n_atoms: ``(n_structures,)``, number of atoms of each.
        positions: ``(n_atoms, 3)`` in Å.
        numbers: ``(n_atoms,)``, atomic numbers.
        carry: ``(n_structures,)`` bool, which may carry terms.
        weight: ``(n_structures,)``, weight of each in the terms.
        force_labels: ``(n_atoms, 3)`` in eV/Å, NaN where there is none; None without any.
    """

    n_atoms: Tensor
    positions: Tensor
    numbers: Tensor
    carry: Tensor
    weight: Tensor
    force_labels: Tensor | None = None


class Host(Protocol):
    """A framework's model in training."""

    def describe(self, batch: Batch) -> Structures:
        """What the core needs to know of a batch; tensors on any device."""

    def select(self, batch: Batch, keep: Tensor) -> Batch:
        """The structures with ``keep``, ``(n_structures,)`` bool, for :meth:`displaced`."""

    def displaced(self, batch: Batch, positions: Tensor) -> Batch:
        """The selected structures at other positions.

        Args:
            batch: from :meth:`select`.
            positions: ``(n_atoms, 3)`` in Å, on the CPU.

        Returns:
            a batch for the model; edges exactly those within its cutoff at these positions.
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
