"""Displaced frames made from a NequIP batch, with exact neighbour lists.

A batch is an ``AtomicDataDict`` with ``batch`` and ``num_atoms``: frames of any sizes, their
atoms and edges one after the other. NequIP's registry says of each field whether it belongs
to frames, atoms or edges.
"""

from __future__ import annotations

import functools

import torch
from nequip.data import AtomicDataDict, compute_neighborlist_
from nequip.data._key_registry import get_field_type
from torch import Tensor

from ..core.displacements import structure_keys

_MADE_ANEW = ("edge_index", "edge_cell_shift")


def _field_type(key: str) -> str:
    """ "graph", "node" or "edge"; fields of shape ``(2, n_edges)`` are "edge pair"."""
    if "edge_index" in key or key == AtomicDataDict.EDGE_TYPE_KEY:
        return "edge pair"
    return get_field_type(key)


class Frames:
    """The frames of a batch that carry PIWSL terms: two atoms or more, and chosen.

    Attributes:
        n_atoms: ``(n_frames,)``, number of atoms of each; ``sizes`` is the same as a list.
        frame_index: ``(n_atoms,)``, the frame of each atom, counted from 0.
        keep: ``(n_frames of the batch,)`` bool.
        keep_atoms: ``(n_atoms of the batch,)`` bool.
    """

    def __init__(self, batch: AtomicDataDict.Type, chosen: Tensor) -> None:
        """Args: batch: what the model was called with; chosen: ``(n_frames,)`` bool."""
        sizes = batch[AtomicDataDict.NUM_NODES_KEY]
        self.batch = batch
        self.keep = chosen & (sizes > 1)
        self.keep_atoms = self.keep[batch[AtomicDataDict.BATCH_KEY]]
        self.n_atoms = sizes[self.keep]
        self.sizes: list[int] = self.n_atoms.tolist()
        self.frame_index = torch.repeat_interleave(self.n_atoms)
        self._all = len(self) == len(self.keep)

    def __len__(self) -> int:
        return len(self.sizes)

    def of_atoms(self, values: Tensor) -> Tensor:
        """The rows of these frames' atoms in ``values`` of all atoms."""
        return values if self._all else values[self.keep_atoms]

    def of_frames(self, values: Tensor) -> Tensor:
        """The rows of these frames in ``values`` of all frames."""
        return values if self._all else values[self.keep]

    @functools.cached_property
    def data(self) -> AtomicDataDict.Type:
        """All fields of these frames but the neighbour list."""
        select = {"graph": self.of_frames, "node": self.of_atoms}
        data = {}
        for key, value in self.batch.items():
            if key in _MADE_ANEW:
                continue
            kind = _field_type(key)
            if kind not in select:
                raise RuntimeError(
                    f"PIWSL cannot make the field '{key}', which belongs to edges, for displaced "
                    "frames; remove the data transform that adds it"
                )
            data[key] = select[kind](value).detach()
        data[AtomicDataDict.BATCH_KEY] = self.frame_index
        return data

    @functools.cached_property
    def _on_cpu(self) -> AtomicDataDict.Type:
        """What neighbour lists depend on, on the CPU, where NequIP makes them."""
        keys = ("pos", "cell", "pbc", "batch", "num_atoms")
        return {key: self.data[key].cpu() for key in keys if key in self.data}

    def keys(self, seed: int, epoch: int) -> list[int]:
        """Random keys of the frames for the displacements of an epoch."""
        return structure_keys(self._on_cpu["pos"], self.sizes, seed, epoch)

    def displaced(self, displacement: Tensor, r_max: float) -> AtomicDataDict.Type:
        """The frames displaced, as a batch with all fields of the original.

        Args:
            displacement: ``(n_atoms, 3)`` in Å, any device and dtype.
            r_max: cutoff of the model in Å.

        Returns:
            a batch with edges exactly those within ``r_max`` after displacing; cells and all
            other fields are those of the original frames.
        """
        like = self.data["pos"]
        positions = self._on_cpu["pos"] + displacement.detach().to("cpu", like.dtype)
        found = self._neighbour_lists(positions, r_max)
        edges = {key: found[key].to(like.device) for key in _MADE_ANEW if key in found}
        return {**self.data, "pos": positions.to(like.device), **edges}

    def _neighbour_lists(self, positions: Tensor, r_max: float) -> AtomicDataDict.Type:
        """Edges of all frames, made frame by frame.

        For a whole batch, NequIP 0.19 (``nequip/data/_nl.py``) takes it apart with one mask per
        frame and field, which for small frames costs as much as the lists themselves.
        """
        lattice = {key: self._on_cpu[key] for key in ("cell", "pbc") if key in self._on_cpu}
        lists, first_atom = [], 0
        for frame, pos in enumerate(positions.split(self.sizes)):
            data = {"pos": pos, **{key: value[frame] for key, value in lattice.items()}}
            data = compute_neighborlist_(data, r_max)
            lists.append({**data, "edge_index": data["edge_index"] + first_atom})
            first_atom += len(pos)
        return {
            key: torch.cat([data[key] for data in lists], dim=-1 if key == "edge_index" else 0)
            for key in _MADE_ANEW
            if key in lists[0]
        }


def keep_first(
    output: AtomicDataDict.Type, n_frames: int, n_atoms: int, n_edges: int
) -> AtomicDataDict.Type:
    """Cut a model's output back to the first frames of the batch it was called with."""
    count = {"graph": n_frames, "node": n_atoms, "edge": n_edges}
    kept = {}
    for key, value in output.items():
        kind = _field_type(key)
        kept[key] = value[:, :n_edges] if kind == "edge pair" else value[: count[kind]]
    return kept
