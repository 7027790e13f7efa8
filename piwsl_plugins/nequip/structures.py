"""NequIP's batches taken apart, displaced and joined, with exact neighbour lists.

A batch is an ``AtomicDataDict`` with ``batch`` and ``num_atoms``: structures of any sizes, their
atoms and edges one after the other. NequIP's registry says of each field whether it belongs to
structures, atoms or edges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import ase.data
import numpy as np
import torch
from nequip.data import AtomicDataDict, compute_neighborlist_, register_fields
from nequip.data._key_registry import get_field_type
from numpy.typing import NDArray
from torch import Tensor

from ..frames.state import CHARGE_KEYS, SPIN_KEYS
from ..terms.host import plain
from ..terms.neighbours import Edges

#: weight of a structure of the pool, ``(n_structures, 1)``
WEIGHT = "piwsl_weight"
register_fields(graph_fields=[WEIGHT])

_NEIGHBOURS = (AtomicDataDict.EDGE_INDEX_KEY, AtomicDataDict.EDGE_CELL_SHIFT_KEY)
#: what a structure without a field has in it; other fields are labels, and NaN is none
_ABSENT = {
    AtomicDataDict.CELL_KEY: 0.0,
    AtomicDataDict.PBC_KEY: False,
    AtomicDataDict.EDGE_CELL_SHIFT_KEY: 0.0,
    WEIGHT: 1.0,
}


def field_type(key: str) -> str:
    """ "graph", "node" or "edge"; fields of shape ``(2, n_edges)`` are "edge pair"."""
    if "edge_index" in key or key == AtomicDataDict.EDGE_TYPE_KEY:
        return "edge pair"
    kind: str = get_field_type(key)
    return kind


def numbers_of(data: AtomicDataDict.Type, type_names: Sequence[str]) -> Tensor:
    """Atomic numbers ``(n_atoms,)``, by the types where the data has none; 0 for no element."""
    if AtomicDataDict.ATOMIC_NUMBERS_KEY in data:
        given: Tensor = data[AtomicDataDict.ATOMIC_NUMBERS_KEY]
        return given.view(-1)
    numbers = torch.tensor([ase.data.atomic_numbers.get(name, 0) for name in type_names])
    types = data[AtomicDataDict.ATOM_TYPE_KEY].view(-1)
    return numbers.to(types.device)[types]


def state_of_fields(data: AtomicDataDict.Type) -> tuple[Tensor | None, Tensor | None]:
    """Total charges (e) and spin multiplicities, one for each structure; None where there are none.

    They are NequIP's fields ``charge`` and ``spin``, or else MACE's names of the same.
    """
    charge = next((data[key] for key in CHARGE_KEYS if key in data), None)
    spin = next((data[key] for key in SPIN_KEYS if key in data), None)
    return charge, spin


def search(
    positions: NDArray[np.float64],
    cell: NDArray[np.float64],
    pbc: NDArray[np.bool_],
    cutoff: float,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """NequIP's search for neighbours, as :data:`piwsl_plugins.terms.neighbours.Search`."""
    data = {
        AtomicDataDict.POSITIONS_KEY: torch.from_numpy(positions),
        AtomicDataDict.PBC_KEY: torch.from_numpy(pbc),
    }
    if pbc.any():
        data[AtomicDataDict.CELL_KEY] = torch.from_numpy(cell)
    found = compute_neighborlist_(data, cutoff)
    index = found[AtomicDataDict.EDGE_INDEX_KEY].numpy()
    cells = found.get(AtomicDataDict.EDGE_CELL_SHIFT_KEY)
    return index, np.zeros((index.shape[1], 3)) if cells is None else cells.numpy()


def select(
    batch: AtomicDataDict.Type, keep: NDArray[np.bool_], sizes: list[int]
) -> AtomicDataDict.Type:
    """The structures of a batch with ``keep``, without neighbour lists.

    Args:
        batch: any.
        keep: ``(n_structures,)``.
        sizes: numbers of atoms of all.

    Raises:
        RuntimeError: for a field of edges that cannot be made anew.
    """
    device = batch[AtomicDataDict.POSITIONS_KEY].device
    every, atoms = bool(keep.all()), np.repeat(keep, sizes)
    chosen = {
        kind: torch.from_numpy(np.flatnonzero(mask)).to(device, non_blocking=True)
        for kind, mask in (("graph", keep), ("node", atoms))
    }
    data = {}
    for key, value in plain(batch).items():
        if key in _NEIGHBOURS:
            continue
        kind = field_type(key)
        if kind not in chosen:
            raise RuntimeError(
                f"PIWSL cannot make the field '{key}', which belongs to edges, for displaced "
                "structures; remove the data transform that adds it"
            )
        data[key] = (value if every else value.index_select(0, chosen[kind])).detach()
    # told how many atoms there are, a GPU need not be asked
    data[AtomicDataDict.BATCH_KEY] = torch.repeat_interleave(
        data[AtomicDataDict.NUM_NODES_KEY], output_size=len(chosen["node"])
    )
    return data


def displaced(
    selected: AtomicDataDict.Type, positions: Tensor, edges: Edges
) -> AtomicDataDict.Type:
    """Structures at other positions.

    Args:
        selected: from :func:`select`.
        positions: ``(n_atoms, 3)`` in Å.
        edges: those within the cutoff there.
    """
    moved = {
        **selected,
        AtomicDataDict.POSITIONS_KEY: positions,
        AtomicDataDict.EDGE_INDEX_KEY: edges.index(),
    }
    if AtomicDataDict.CELL_KEY in selected:
        moved[AtomicDataDict.EDGE_CELL_SHIFT_KEY] = edges.cells()
    return moved


def join(batches: Sequence[AtomicDataDict.Type]) -> AtomicDataDict.Type:
    """One batch of several, in order; labels that only some have are NaN for the others."""
    batches = [AtomicDataDict.with_batch_(plain(batch)) for batch in batches]
    examples = {key: value for batch in batches for key, value in batch.items()}
    for key, example in examples.items():
        without = [batch for batch in batches if key not in batch]
        value = _ABSENT.get(key, math.nan)
        if without and isinstance(value, float) and not example.is_floating_point():
            for batch in batches:
                batch.pop(key, None)
            continue
        for batch in without:
            shape = (_count(batch, field_type(key)), *example.shape[1:])
            batch[key] = example.new_full(shape, value)
    return AtomicDataDict.batched_from_list(batches)


def split(
    output: AtomicDataDict.Type, batches: Sequence[AtomicDataDict.Type]
) -> list[AtomicDataDict.Type]:
    """A model's output for joined batches, taken apart again."""
    kinds = {key: field_type(key) for key in output}
    first = dict.fromkeys(set(kinds.values()), 0)
    parts = []
    for batch in batches:
        last = {kind: first[kind] + _count(batch, kind) for kind in first}
        part = {
            key: value[:, first[kind] : last[kind]]
            if kind == "edge pair"
            else value[first[kind] : last[kind]]
            for (key, value), kind in zip(output.items(), kinds.values())
        }
        if AtomicDataDict.BATCH_KEY in part:
            part[AtomicDataDict.BATCH_KEY] = part[AtomicDataDict.BATCH_KEY] - first["graph"]
        parts.append(part)
        first = last
    return parts


def _count(batch: AtomicDataDict.Type, kind: str) -> int:
    counts = {"graph": AtomicDataDict.num_frames, "node": AtomicDataDict.num_nodes}
    return int(counts.get(kind, AtomicDataDict.num_edges)(batch))
