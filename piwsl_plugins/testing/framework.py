"""What the tests ask of a framework: a small model, and ways to call it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Protocol

import ase
import torch
from torch import Tensor

from ..terms.host import Batch, Host, Output


class Framework(Protocol):
    """A framework with a small random model, in float64 and in training mode.

    Its batches and outputs are dictionaries. Its energies should be some eV per atom at most: large
    ones leave fewer digits to differences.

    Structures have the elements H, C and O, in any number down to one atom, periodic in all
    directions or in none; their labels are ``info["REF_energy"]`` in eV and
    ``arrays["REF_forces"]`` in eV/Å, and some have no forces.

    Attributes:
        model: the model.
        host: its host.
        parameters: of the model, those with a gradient.
    """

    model: torch.nn.Module
    host: Host
    parameters: list[Tensor]

    def batch(self, structures: Sequence[ase.Atoms]) -> Batch:
        """A batch as the trainer's loader makes it, with labels, on the CPU."""

    def pooled(self, structures: Sequence[ase.Atoms]) -> Any:
        """Structures as a pool's ``collate_fn`` makes them, likewise."""

    def call(self, batch: Batch, forces: bool) -> Output:
        """The model's output as the trainer gets it."""

    def alone(self, atoms: ase.Atoms) -> tuple[Tensor, Tensor]:
        """One structure, by another way and with another neighbour list.

        Returns:
            its energy in eV, a scalar, and forces in eV/Å, ``(n_atoms, 3)``, both differentiable in
                the parameters, in float64 on the CPU.
        """


class OnDevice:
    """A framework with a copy of its model on another device; ``on_cpu`` is the original."""

    def __init__(self, framework: Framework, device: str) -> None:
        self.on_cpu, self._there, self._device = framework, copy.deepcopy(framework), device
        self.model = self._there.model.to(device)
        self.host: Host = self._there.host
        self.parameters: list[Tensor] = [p for p in self.model.parameters() if p.requires_grad]

    def batch(self, structures: Sequence[ase.Atoms]) -> Batch:
        """Part of :class:`Framework`."""
        return moved_to(self._device, self._there.batch(structures))

    def pooled(self, structures: Sequence[ase.Atoms]) -> Any:
        """Likewise."""
        return self.on_cpu.pooled(structures)

    def call(self, batch: Batch, forces: bool) -> Output:
        """Likewise."""
        return self._there.call(batch, forces)

    def alone(self, atoms: ase.Atoms) -> tuple[Tensor, Tensor]:
        """Likewise."""
        return self.on_cpu.alone(atoms)


def moved_to(device: str, values: dict[str, Any]) -> dict[str, Any]:
    """A batch or an output, a dictionary, on another device."""
    return {
        key: value.to(device) if isinstance(value, Tensor) else value
        for key, value in values.items()
    }
