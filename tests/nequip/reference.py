"""Frames as NequIP has them, and energies and forces of one frame, with another neighbour list."""

from __future__ import annotations

import torch
from nequip.data import AtomicDataDict, compute_neighborlist_, from_ase

KEYS = {"REF_energy": "total_energy", "REF_forces": "forces"}


def as_data(atoms, type_names):
    data = from_ase(atoms, key_mapping=KEYS)
    data.setdefault("forces", torch.full((len(atoms), 3), torch.nan))
    symbols = [type_names.index(symbol) for symbol in atoms.get_chemical_symbols()]
    data["atom_types"] = torch.tensor(symbols)
    return data


def as_batch(frames, type_names, r_max):
    data = [compute_neighborlist_(as_data(atoms, type_names), r_max) for atoms in frames]
    return AtomicDataDict.batched_from_list(data)


def evaluate(model, data, displacement, r_max):
    """E and F of one frame, with NequIP's other neighbour list."""
    data = {key: value for key, value in data.items() if key not in ("total_energy", "forces")}
    data["pos"] = data["pos"] + displacement
    data = AtomicDataDict.with_batch_(compute_neighborlist_(data, r_max, backend="ase"))
    output = model.forward(data)
    return output["total_energy"].view(()), output["forces"]
