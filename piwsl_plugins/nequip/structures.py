"""NequIP's batches taken apart, displaced and joined, with exact neighbour lists.

A batch is an ``AtomicDataDict`` with ``batch`` and ``num_atoms``: structures of any sizes, their
atoms and edges one after the other. NequIP's registry says of each field whether it belongs to
structures, atoms or edges.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import ase.data
import torch
from nequip.data import AtomicDataDict, compute_neighborlist_, register_fields
from nequip.data._key_registry import get_field_type
from torch import Tensor

#: weight of a structure of the pool, ``(n_structures, 1)``
WEIGHT = "piwsl_weight"
register_fields(graph_fields=[WEIGHT])
#: key of the pool's labels in a model's output, beside the pool's part of it
POOL_LABELS = "piwsl_pool_labels"

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
    return get_field_type(key)


def numbers_of(data: AtomicDataDict.Type, type_names: Sequence[str]) -> Tensor:
    """Atomic numbers ``(n_atoms,)``, by the types where the data has none; 0 for no element."""
    if AtomicDataDict.ATOMIC_NUMBERS_KEY in data:
        return data[AtomicDataDict.ATOMIC_NUMBERS_KEY].view(-1)
    numbers = torch.tensor([ase.data.atomic_numbers.get(name, 0) for name in type_names])
    types = data[AtomicDataDict.ATOM_TYPE_KEY].view(-1)
    return numbers.to(types.device)[types]


@dataclasses.dataclass(frozen=True)
class Selected:
    """Some structures of a batch.

    Attributes:
        data: all their fields but the neighbour lists.
        sizes: number of atoms of each.
        lattice: ``cell`` and ``pbc``, on the CPU, where NequIP makes neighbour lists.
    """

    data: AtomicDataDict.Type
    sizes: list[int]
    lattice: AtomicDataDict.Type


def select(batch: AtomicDataDict.Type, keep: Tensor) -> Selected:
    """The structures of a batch with ``keep``, ``(n_structures,)`` bool.

    Raises:
        RuntimeError: for a field of edges that cannot be made anew.
    """
    masks = {"graph": keep, "node": keep[batch[AtomicDataDict.BATCH_KEY]]}
    every = bool(keep.all())
    data = {}
    for key, value in batch.items():
        if key in _NEIGHBOURS:
            continue
        kind = field_type(key)
        if kind not in masks:
            raise RuntimeError(
                f"PIWSL cannot make the field '{key}', which belongs to edges, for displaced "
                "structures; remove the data transform that adds it"
            )
        data[key] = (value if every else value[masks[kind]]).detach()
    n_atoms = data[AtomicDataDict.NUM_NODES_KEY]
    data[AtomicDataDict.BATCH_KEY] = torch.repeat_interleave(n_atoms)
    keys = (AtomicDataDict.CELL_KEY, AtomicDataDict.PBC_KEY)
    lattice = {key: data[key].cpu() for key in keys if key in data}
    return Selected(data, n_atoms.tolist(), lattice)


def displaced(selected: Selected, positions: Tensor, r_max: float) -> AtomicDataDict.Type:
    """Structures at other positions, with edges exactly those within ``r_max`` there.

    Neighbour lists are made structure by structure: for a whole batch, NequIP 0.19
    (``nequip/data/_nl.py``) takes it apart with one mask per structure and field, which for small
    structures costs as much as the lists themselves.

    Args:
        selected: the structures.
        positions: ``(n_atoms, 3)`` in Å, on the CPU.
        r_max: cutoff in Å.
    """
    device = selected.data[AtomicDataDict.POSITIONS_KEY].device
    lists, first_atom = [], 0
    for index, pos in enumerate(positions.split(selected.sizes)):
        alone = {key: value[index] for key, value in selected.lattice.items()}
        found = compute_neighborlist_({**alone, AtomicDataDict.POSITIONS_KEY: pos}, r_max)
        found[AtomicDataDict.EDGE_INDEX_KEY] = found[AtomicDataDict.EDGE_INDEX_KEY] + first_atom
        lists.append(found)
        first_atom += len(pos)
    edges = {
        key: torch.cat([found[key] for found in lists], dim=1 if "index" in key else 0).to(device)
        for key in _NEIGHBOURS
        if key in lists[0]
    }
    return {**selected.data, AtomicDataDict.POSITIONS_KEY: positions.to(device), **edges}


def join(batches: Sequence[AtomicDataDict.Type]) -> AtomicDataDict.Type:
    """One batch of several, in order; labels that only some have are NaN for the others."""
    batches = [AtomicDataDict.with_batch_(batch.copy()) for batch in batches]
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
    if kind == "graph":
        return AtomicDataDict.num_frames(batch)
    return (AtomicDataDict.num_nodes if kind == "node" else AtomicDataDict.num_edges)(batch)
