"""Batches of MACE taken apart and put together, with exact neighbour lists.

A batch is the dictionary that MACE's models take: atoms of all structures one after the
other, ``ptr`` ``(n_structures + 1,)`` and ``batch`` ``(n_atoms,)``, ``edge_index``
``(2, n_edges)``, cells ``(3 n_structures, 3)``, and other tensors per atom or per structure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mace.data.neighborhood import get_neighborhood
from numpy.typing import NDArray
from torch import Tensor

from ..terms.neighbours import Edges

Batch = dict[str, Any]

_PER_EDGE = ("edge_index", "shifts", "unit_shifts")
_INDEXING = ("ptr", "batch")
_THREE_ROWS = ("cell", "rcell")


class _NoForces(Tensor):
    """Positions for an evaluation of energies alone.

    MACE's models call ``requires_grad_`` on the positions (``mace/modules/utils.py``,
    ``prepare_graph``), which makes the backward pass work out −F for nobody.
    """

    __torch_function__: Any = torch._C._disabled_torch_function_impl

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


def _indexing(n_atoms: Tensor, total: int) -> Batch:
    starts = torch.nn.functional.pad(n_atoms.cumsum(0), (1, 0))
    # told how many there are, a GPU need not be asked
    return {"ptr": starts, "batch": torch.repeat_interleave(n_atoms, output_size=total)}


def search(
    positions: NDArray[np.float64],
    cell: NDArray[np.float64],
    pbc: NDArray[np.bool_],
    cutoff: float,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """MACE's search for neighbours, as :data:`piwsl_plugins.terms.neighbours.Search`."""
    # get_neighborhood rewrites the cell of non-periodic structures in place
    index, _, cells, _ = get_neighborhood(positions, cutoff, tuple(pbc.tolist()), cell.copy())
    return index.astype(np.int64), cells.astype(np.float64)


def select(batch: Batch, keep: NDArray[np.bool_], sizes: list[int]) -> Batch:
    """Some structures of a batch, without edges.

    Args:
        batch: what a model is called with.
        keep: ``(n_structures,)``.
        sizes: numbers of atoms of all.
    """
    everything, device = bool(keep.all()), batch["positions"].device
    structures, atoms = keep, np.repeat(keep, sizes)

    def rows(mask: NDArray[np.bool_]) -> Tensor:
        return torch.from_numpy(np.flatnonzero(mask)).to(device, non_blocking=True)

    n_atoms = batch["ptr"].diff()
    chosen = {0: rows(atoms), 1: rows(structures), 3: rows(np.repeat(structures, 3))}
    if not everything:
        n_atoms = n_atoms.index_select(0, chosen[1])
    selected = _indexing(n_atoms, len(chosen[0]))
    for key, value in batch.items():
        if key in _PER_EDGE or key in _INDEXING or not isinstance(value, Tensor):
            continue
        if not everything:
            per_structure, _ = _rows(key, value, len(atoms), len(keep))
            value = value.index_select(0, chosen[per_structure])
        selected[key] = value.detach()
    return selected


def displaced(batch: Batch, positions: Tensor, edges: Edges) -> Batch:
    """The structures at other positions, for a model call.

    Args:
        batch: from :func:`select`.
        positions: ``(n_atoms, 3)`` in Å.
        edges: those within the cutoff there.

    Returns:
        all that the model needs; cells and all other inputs as in ``batch``.
    """
    return {
        **batch,
        "positions": positions,
        "edge_index": edges.index(),
        "shifts": edges.shifts(),
        # read for stress alone: made where the structures are joined to the trainer's batch
        "unit_shifts": edges.cells,
    }


def join(batches: Sequence[Batch]) -> Batch:
    """One batch of several, in order, with the keys that all have."""
    n_atoms = torch.cat([batch["ptr"].diff() for batch in batches])
    joined = _indexing(n_atoms, sum(len(batch["batch"]) for batch in batches))
    for key in set.intersection(*(set(batch) for batch in batches)) - joined.keys():
        if isinstance(batches[0][key], Tensor) and key != "edge_index":
            values = (batch[key] for batch in batches)
            # unit_shifts of displaced structures are a function
            made = [value() if callable(value) else value.detach() for value in values]
            joined[key] = torch.cat(made)
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
