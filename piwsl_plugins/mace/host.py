"""A MACE model in training, as the core asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..core.host import Evaluated, Structures
from . import structures
from .structures import Batch

REPLAY_HEAD = "pt_head"
#: up to so many edges, calls on a CPU that need energies alone are shared
SHARED_EDGES = 3000


def carrying_heads(chosen: Sequence[str] | None, heads: Sequence[str]) -> list[str]:
    """The heads whose structures carry terms: those chosen, else all but the replay head."""
    default = [name for name in heads if name != REPLAY_HEAD or len(heads) == 1]
    return list(chosen or default)


class MACEHost:
    """A model for the core's :class:`~piwsl_plugins.core.host.Host`; batches are dictionaries."""

    def __init__(self, model: torch.nn.Module, heads: Sequence[str] | None = None) -> None:
        """
        Args:
            model: the MACE model, not its DistributedDataParallel wrapper.
            heads: names of those whose structures carry terms, by default all but the replay head.
        """
        self._model = model
        self._r_max = float(model.r_max)
        names = list(getattr(model, "heads", None) or ["Default"])
        self._heads = [names.index(name) for name in carrying_heads(heads, names)]

    def carry(self, batch: Batch) -> Tensor:
        """``(n_structures,)`` bool, those of the right heads."""
        if "head" not in batch:
            return torch.ones_like(batch["ptr"][1:], dtype=torch.bool)
        return torch.isin(batch["head"], torch.tensor(self._heads, device=batch["head"].device))

    def describe(self, batch: Batch) -> Structures:
        """What the core needs to know of a batch."""
        unknown = (batch["forces_weight"] == 0)[batch["batch"]].unsqueeze(-1)
        element = batch["node_attrs"].argmax(dim=-1)
        return Structures(
            n_atoms=batch["ptr"].diff(),
            positions=batch["positions"],
            numbers=self._model.atomic_numbers.to(element.device)[element],
            carry=self.carry(batch),
            weight=batch["weight"],
            force_labels=batch["forces"].masked_fill(unknown, torch.nan),
        )

    def select(self, batch: Batch, keep: Tensor) -> Batch:
        """The structures with ``keep``, without edges."""
        return structures.select(batch, keep)

    def displaced(self, batch: Batch, positions: Tensor) -> Batch:
        """The selected structures at other positions, with their edges there."""
        return structures.displaced(batch, positions, self._r_max)

    def join(self, batches: Sequence[Batch]) -> Batch:
        """One batch of several."""
        return structures.join(batches)

    def split(self, output: dict[str, Any], batches: Sequence[Batch]) -> list[dict[str, Any]]:
        """The output for joined batches, taken apart."""
        return structures.split(output, batches)

    def read(self, output: dict[str, Any]) -> Evaluated:
        """Energies, without those of isolated atoms, and forces if there are any."""
        return Evaluated(varying_energy(self._model, output), output["forces"])

    def evaluate(self, batch: Batch, forces: bool) -> Evaluated:
        """Call the model past the trainer's hooks."""
        # forward, not __call__: the hooks are for the trainer's call
        output = self._model.forward(
            batch if forces else structures.without_forces(batch),
            training=True,
            compute_force=forces,
            compute_virials=False,
            compute_stress=False,
        )
        return self.read(output)

    def shares_calls(self, batch: Batch, forces: bool) -> bool:
        """A GPU is faster with one large call than with two.

        On a CPU a call of twice the size costs up to three times as much (docs/step_cost.md).
        """
        small = batch["edge_index"].shape[1] <= SHARED_EDGES
        return batch["positions"].device.type != "cpu" or (small and not forces)


def varying_energy(model: torch.nn.Module, output: dict[str, Any]) -> Tensor:
    """The energy without that of the isolated atoms, which is the same at every point.

    In float32 the total energy of a DFT data set (thousands of eV) has no digits left for a
    residual of some meV. Models of other types give the total energy.
    """
    if output.get("contributions") is not None:  # MACE, EnergyDipolesMACE: E0 comes first
        return output["contributions"][:, 1:].sum(dim=-1)
    if type(model).__name__ == "ScaleShiftMACE":
        return output["interaction_energy"]
    return output["energy"]
