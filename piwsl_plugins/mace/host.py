"""A MACE model in training, as the terms ask for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from mace.tools.torch_geometric.batch import Batch as LabelledBatch
from numpy.typing import NDArray
from torch import Tensor

from ..terms.host import STRUCTURES, Evaluated, Structures, plain
from ..terms.loss_gradient import gradient_by_positions
from ..terms.neighbours import Edges, NeighbourLists
from . import structures
from .structures import Batch

#: of a batch of MACE's and the model's output for it, a scalar
SupervisedLoss = Callable[[Any, dict[str, Any]], Tensor]
REPLAY_HEAD = "pt_head"
#: up to so many edges, calls on a CPU that need energies alone are shared
SHARED_EDGES = 3000


def carrying_heads(chosen: Sequence[str] | None, heads: Sequence[str]) -> list[str]:
    """The heads whose structures carry terms: those chosen, else all but the replay head."""
    default = [name for name in heads if name != REPLAY_HEAD or len(heads) == 1]
    return list(chosen or default)


class Describe:
    """Says what the terms need to know of batches, on the CPU; a loader's workers may call it."""

    def __init__(self, numbers: Sequence[int], heads: Sequence[int] | None) -> None:
        """
        Args:
            numbers: atomic numbers of the model's elements.
            heads: numbers of those whose structures carry terms; None for all.
        """
        self._numbers = torch.tensor(numbers)
        self._heads = None if heads is None else torch.tensor(heads)

    def __call__(self, batch: Batch) -> Structures:
        """Of a batch, as the dictionary that MACE's models take."""
        sizes = batch["ptr"].diff().tolist()
        pbc = batch["pbc"].view(-1, 3).cpu().numpy()
        carry = torch.ones(len(sizes), dtype=torch.bool)
        if self._heads is not None:
            carry = torch.isin(batch["head"].cpu(), self._heads)
        return Structures.of(
            sizes,
            batch["positions"].cpu(),
            self._numbers[batch["node_attrs"].argmax(dim=-1).cpu()],
            batch["cell"].view(-1, 3, 3).cpu().double().numpy(),
            pbc,
            carry.numpy(),
            # 0 and 1 in MACE's batches where the data says nothing: uncharged, the lowest spin
            batch["total_charge"].view(-1).cpu().double().numpy(),
            batch["total_spin"].view(-1).cpu().double().numpy(),
        )


class MACEHost:
    """A model for the terms' :class:`~piwsl_plugins.terms.host.Host`; batches are dictionaries."""

    def __init__(
        self,
        model: Any,
        heads: Sequence[str] | None = None,
        lists: NeighbourLists | None = None,
    ) -> None:
        """
        Args:
            model: the MACE model, not its DistributedDataParallel wrapper.
            heads: names of those whose structures carry terms, by default all but the replay head.
            lists: neighbour lists that are kept for longer than this object.
        """
        self.model = model
        self.lists = lists or NeighbourLists(structures.search, float(self.model.r_max))
        names = list(getattr(model, "heads", None) or ["Default"])
        chosen = [names.index(name) for name in carrying_heads(heads, names)]
        everything = set(chosen) == set(range(len(names)))
        self.description = Describe(
            self.model.atomic_numbers.tolist(), None if everything else chosen
        )

    def describe(self, batch: Batch) -> Structures:
        """What the terms need to know of a batch."""
        known: Structures | None = batch.get(STRUCTURES)
        return known or self.description(batch)

    def weight(self, batch: Batch) -> Tensor:
        """The structures' weights."""
        weight: Tensor = batch["weight"]
        return weight

    def force_labels(self, batch: Batch) -> Tensor:
        """Forces, NaN where MACE has put zeros for missing ones."""
        unknown = (batch["forces_weight"] == 0)[batch["batch"]].unsqueeze(-1)
        forces: Tensor = batch["forces"]
        return forces.masked_fill(unknown, torch.nan)

    def select(self, batch: Batch, keep: NDArray[np.bool_], sizes: list[int]) -> Batch:
        """The structures with ``keep``, without edges."""
        return structures.select(batch, keep, sizes)

    def displaced(self, batch: Batch, positions: Tensor, edges: Edges) -> Batch:
        """The selected structures at other positions."""
        return structures.displaced(batch, positions, edges)

    def beside(self, batch: Batch, loaded: Any) -> tuple[Batch, Any]:
        """Structures of the pool, as a dictionary and as a batch of MACE's with the labels."""
        labels = loaded.to(batch["positions"].device)
        return labels.to_dict(), labels

    def join(self, batches: Sequence[Batch]) -> Batch:
        """One batch of several."""
        return structures.join(batches)

    def split(self, output: dict[str, Any], batches: Sequence[Batch]) -> list[dict[str, Any]]:
        """The output for joined batches, taken apart."""
        return structures.split(output, batches)

    def read(self, output: dict[str, Any]) -> Evaluated:
        """Energies, without those of isolated atoms, and forces if there are any."""
        return Evaluated(varying_energy(self.model, output), output["forces"])

    def evaluate(self, batch: Batch, forces: bool) -> Evaluated:
        """Call the model past the trainer's hooks."""
        # forward, not __call__: the hooks are for the trainer's call
        output = self.model.forward(
            batch if forces else self.energies_alone(batch),
            training=True,
            compute_force=forces,
            compute_virials=False,
            compute_stress=False,
        )
        return self.read(output)

    def loss_gradient(
        self, batch: Batch, loss: SupervisedLoss, *args: Any, **keywords: Any
    ) -> Tensor:
        """The gradient of a loss by the positions of a batch, past the trainer's hooks.

        Args:
            batch: with its labels.
            loss: of the batch and the model's output.
            args: of the model's call, beside the batch.
            keywords: likewise.

        Returns:
            ``(n_atoms, 3)`` in units of the loss per Å.
        """
        inputs = plain(batch)
        labels = LabelledBatch(**inputs)

        def of_positions(positions: Tensor) -> Tensor:
            moved = {**inputs, "positions": positions}
            return loss(labels, self.model.forward(moved, *args, **keywords))

        return gradient_by_positions(of_positions, batch["positions"])

    def energies_alone(self, batch: Batch) -> Batch:
        """A batch with positions that take no part in the gradient.

        Born charges, which a MACELES may give, are derivatives by the positions.
        """
        differentiated = getattr(self.model, "compute_bec", False)
        return batch if differentiated else structures.without_forces(batch)

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
    energy: Tensor
    if output.get("contributions") is not None:  # MACE, EnergyDipolesMACE: E0 comes first
        energy = output["contributions"][:, 1:].sum(dim=-1)
    elif type(model).__name__ == "ScaleShiftMACE":
        energy = output["interaction_energy"]
    else:
        energy = output["energy"]
    return energy
