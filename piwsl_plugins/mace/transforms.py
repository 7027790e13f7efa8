"""Displaced structures made from a MACE batch, with exact neighbour lists.

A batch is the dictionary that MACE's models take: atoms of all structures one after the
other, ``ptr`` ``(n_structures + 1,)`` and ``batch`` ``(n_atoms,)``, ``edge_index``
``(2, n_edges)``, cells ``(3 n_structures, 3)``, and other tensors per atom or per structure.
"""

from __future__ import annotations

import functools

import torch
from mace.data.neighborhood import get_neighborhood
from torch import Tensor

from ..core.displacements import structure_keys

Batch = dict[str, Tensor]

_PER_EDGE = ("edge_index", "shifts", "unit_shifts")
_INDEXING = ("ptr", "batch")
_THREE_ROWS = ("cell", "rcell")


class _NoForces(Tensor):
    """Positions for an evaluation of energies alone.

    MACE's models call ``requires_grad_`` on the positions (``mace/modules/utils.py``,
    ``prepare_graph``), which makes the backward pass work out −F for nobody.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl

    def requires_grad_(self, requires_grad: bool = True) -> _NoForces:
        return self


def without_forces(batch: Batch) -> Batch:
    """The batch for energies alone: its positions take no part in the gradient."""
    return {**batch, "positions": batch["positions"].detach().as_subclass(_NoForces)}


def _rows(key: str, value: Tensor, n_atoms: int, n_structures: int) -> tuple[int, int]:
    """How many structures' or atoms' rows ``value`` has: ``(rows per structure, per atom)``.

    Unambiguous, because batches without a structure of two atoms or more are not displaced.
    """
    if key in _THREE_ROWS:
        return 3, 0
    if value.shape[0] == n_atoms:
        return 0, 1
    if value.shape[0] == n_structures:
        return 1, 0
    raise RuntimeError(
        f"PIWSL cannot tell whether '{key}' of shape {tuple(value.shape)} belongs to the atoms or "
        f"to the structures of a batch of {n_structures} structures and {n_atoms} atoms; please "
        "report this with the model's type"
    )


def keep_first(output: Batch, n_atoms: tuple[int, int], n_structures: tuple[int, int]) -> Batch:
    """Cut a model's output back to the first structures of the batch it was called with.

    Args:
        output: tensors per atom, per structure, or scalars; None values are kept.
        n_atoms: number of atoms to keep, and in all.
        n_structures: number of structures to keep, and in all.
    """
    kept = dict(output)
    for key, value in output.items():
        if isinstance(value, Tensor) and value.dim() > 0:
            _, per_atom = _rows(key, value, n_atoms[1], n_structures[1])
            kept[key] = value[: n_atoms[0] if per_atom else n_structures[0]]
    return kept


class Structures:
    """The structures that carry PIWSL terms: of a batch, then those of the unlabelled pool.

    Attributes:
        data: their part of the batch and the pool, without edges.
        n_atoms: ``(n_structures,)``, number of atoms of each; ``sizes`` is the same as a list.
        structure_index: ``(n_atoms,)``, the structure of each atom.
        keep: ``(n_structures of the batch,)`` bool.
        keep_atoms: ``(n_atoms of the batch,)`` bool.
        n_pool: how many of the structures are the pool's.
    """

    def __init__(self, batch: Batch, keep: Tensor, pool: Batch | None = None) -> None:
        """
        Args:
            batch: what the model was called with.
            keep: ``(n_structures,)`` bool.
            pool: unlabelled structures that come with it.
        """
        sizes = batch["ptr"].diff()
        keep = keep & (sizes > 1)
        self.keep = keep
        self.keep_atoms = keep[batch["batch"]]
        self.n_atoms = sizes[keep]
        self.n_pool = 0
        self.data = self._select(batch)
        if pool is not None:
            pool_sizes = pool["ptr"].diff()
            self.n_pool = len(pool_sizes)
            self.n_atoms = torch.cat([self.n_atoms, pool_sizes])
            self.data = {
                key: torch.cat([value, pool[key]])
                for key, value in self.data.items()
                if key in pool
            }
        self.sizes: list[int] = self.n_atoms.tolist()
        self.structure_index = torch.repeat_interleave(self.n_atoms)

    def __len__(self) -> int:
        return len(self.sizes)

    def _select(self, batch: Batch) -> Batch:
        data = {
            key: value.detach()
            for key, value in batch.items()
            if key not in _PER_EDGE and key not in _INDEXING and isinstance(value, Tensor)
        }
        if bool(self.keep.all()):
            return data
        for key, value in data.items():
            per_structure, per_atom = _rows(key, value, len(self.keep_atoms), len(self.keep))
            rows = (
                self.keep_atoms if per_atom else torch.repeat_interleave(self.keep, per_structure)
            )
            data[key] = value[rows]
        return data

    @functools.cached_property
    def positions(self) -> Tensor:
        """``(n_atoms, 3)`` in Å, on the CPU, where MACE's neighbour lists are made."""
        return self.data["positions"].cpu()

    def keys(self, seed: int, epoch: int) -> list[int]:
        """Random keys of the structures for the displacements of an epoch."""
        return structure_keys(self.positions, self.sizes, seed, epoch)

    def displaced(self, displacement: Tensor, r_max: float) -> Batch:
        """The batch of the structures displaced, for a model call of its own.

        Args:
            displacement: ``(n_atoms, 3)`` in Å, any device and dtype.
            r_max: cutoff of the model in Å.

        Returns:
            all that the model needs; cells and all other inputs as in the original structures,
            edges exactly those within ``r_max`` after displacing.
        """
        positions = self.positions + displacement.detach().to("cpu", self.positions.dtype)
        like = self.data["positions"]
        starts = torch.nn.functional.pad(self.n_atoms.cumsum(0), (1, 0))
        return {
            **self.data,
            "positions": positions.to(like.device),
            "batch": self.structure_index,
            "ptr": starts,
            **self._edges(positions, starts.tolist(), r_max, like),
        }

    def _edges(self, positions: Tensor, starts: list[int], r_max: float, like: Tensor) -> Batch:
        cells = self.data["cell"].view(-1, 3, 3).cpu().double().numpy()
        periodic = self.data["pbc"].view(-1, 3).tolist()
        edge_index, shifts, unit_shifts = [], [], []
        for block, cell, pbc, start in zip(
            positions.double().split(self.sizes), cells, periodic, starts, strict=False
        ):
            # get_neighborhood rewrites the cell of non-periodic structures in place
            index, shift, unit_shift, _ = get_neighborhood(
                block.numpy(), r_max, tuple(pbc), cell.copy()
            )
            edge_index.append(torch.from_numpy(index + start))
            shifts.append(torch.from_numpy(shift))
            unit_shifts.append(torch.from_numpy(unit_shift))
        return {
            "edge_index": torch.cat(edge_index, dim=1).to(like.device, torch.long),
            "shifts": torch.cat(shifts).to(like),
            "unit_shifts": torch.cat(unit_shifts).to(like),
        }


def join(batches: list[Batch]) -> Batch:
    """One batch of several, in order; every batch has the keys of the last."""
    if len(batches) == 1:
        return batches[0]
    joined: Batch = {}
    for key in batches[-1]:
        if key not in _INDEXING and key != "edge_index":
            joined[key] = torch.cat([batch[key].detach() for batch in batches])
    edges, indices, starts, n_atoms, n_structures = [], [], [batches[0]["ptr"][:1]], 0, 0
    for batch in batches:
        edges.append(batch["edge_index"] + n_atoms)
        indices.append(batch["batch"] + n_structures)
        starts.append(batch["ptr"][1:] + n_atoms)
        n_atoms += batch["batch"].shape[0]
        n_structures += batch["ptr"].shape[0] - 1
    joined["edge_index"] = torch.cat(edges, dim=1)
    joined["batch"] = torch.cat(indices)
    joined["ptr"] = torch.cat(starts)
    return joined
