"""Batches of MACE taken apart and put together, with exact neighbour lists.

A batch is the dictionary that MACE's models take: atoms of all structures one after the
other, ``ptr`` ``(n_structures + 1,)`` and ``batch`` ``(n_atoms,)``, ``edge_index``
``(2, n_edges)``, cells ``(3 n_structures, 3)``, and other tensors per atom or per structure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mace.data.neighborhood import get_neighborhood
from torch import Tensor

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
    """How many rows of ``value`` each structure and each atom has; one of the two is 0.

    Where every structure is a single atom, both readings are the same.
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


def _indexing(n_atoms: Tensor) -> Batch:
    starts = torch.nn.functional.pad(n_atoms.cumsum(0), (1, 0))
    return {"ptr": starts, "batch": torch.repeat_interleave(n_atoms)}


def select(batch: Batch, keep: Tensor) -> Batch:
    """Some structures of a batch, without edges.

    Args:
        batch: what a model is called with.
        keep: ``(n_structures,)`` bool.
    """
    keep_atoms, everything = keep[batch["batch"]], bool(keep.all())
    selected = _indexing(batch["ptr"].diff()[keep])
    for key, value in batch.items():
        if key in _PER_EDGE or key in _INDEXING or not isinstance(value, Tensor):
            continue
        if not everything:
            per_structure, per_atom = _rows(key, value, len(keep_atoms), len(keep))
            value = value[keep_atoms if per_atom else keep.repeat_interleave(per_structure)]
        selected[key] = value.detach()
    return selected


def displaced(batch: Batch, positions: Tensor, r_max: float) -> Batch:
    """The structures at other positions, for a model call.

    Args:
        batch: from :func:`select`.
        positions: ``(n_atoms, 3)`` in Å, on the CPU.
        r_max: cutoff of the model in Å.

    Returns:
        all that the model needs; cells and all other inputs as in ``batch``, edges exactly those
        within ``r_max``.
    """
    like = batch["positions"]
    cells = batch["cell"].view(-1, 3, 3).cpu().double().numpy()
    periodic = batch["pbc"].view(-1, 3).tolist()
    starts = batch["ptr"].tolist()
    blocks = positions.double().split(batch["ptr"].diff().tolist())
    edge_index, shifts, unit_shifts = [], [], []
    for block, cell, pbc, start in zip(blocks, cells, periodic, starts, strict=False):
        # get_neighborhood rewrites the cell of non-periodic structures in place
        index, shift, unit_shift, _ = get_neighborhood(
            block.numpy(), r_max, tuple(pbc), cell.copy()
        )
        edge_index.append(torch.from_numpy(index + start))
        shifts.append(torch.from_numpy(shift))
        unit_shifts.append(torch.from_numpy(unit_shift))
    return {
        **batch,
        "positions": positions.to(like),
        "edge_index": torch.cat(edge_index, dim=1).to(like.device, torch.long),
        "shifts": torch.cat(shifts).to(like),
        "unit_shifts": torch.cat(unit_shifts).to(like),
    }


def join(batches: Sequence[Batch]) -> Batch:
    """One batch of several, in order, with the keys that all have."""
    n_atoms = torch.cat([batch["ptr"].diff() for batch in batches])
    joined = _indexing(n_atoms)
    for key in set.intersection(*(set(batch) for batch in batches)) - joined.keys():
        if isinstance(batches[0][key], Tensor) and key != "edge_index":
            joined[key] = torch.cat([batch[key].detach() for batch in batches])
    edges, start = [], 0
    for batch in batches:
        edges.append(batch["edge_index"] + start)
        start += len(batch["batch"])
    joined["edge_index"] = torch.cat(edges, dim=1)
    return joined


def split(output: dict[str, Any], batches: Sequence[Batch]) -> list[dict[str, Any]]:
    """A model's output for joined batches, taken apart again; scalars and None go to each."""
    n_atoms = [len(batch["batch"]) for batch in batches]
    n_structures = [len(batch["ptr"]) - 1 for batch in batches]
    parts: list[dict[str, Any]] = [{} for _ in batches]
    for key, value in output.items():
        pieces = [value] * len(batches)
        if isinstance(value, Tensor) and value.dim() > 0:
            _, per_atom = _rows(key, value, sum(n_atoms), sum(n_structures))
            pieces = list(value.split(n_atoms if per_atom else n_structures))
        for part, piece in zip(parts, pieces, strict=True):
            part[key] = piece
    return parts
