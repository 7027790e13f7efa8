"""Neighbour lists of displaced frames, and cutting a model's output back."""

from __future__ import annotations

import ase
import pytest
import torch
from ase.neighborlist import neighbor_list

from piwsl_plugins.nequip.frames import Frames, keep_first

from . import reference
from .conftest import TYPE_NAMES

R_MAX = 3.0


def edges_of(data):
    rows = zip(*data["edge_index"].tolist(), data["edge_cell_shift"].int().tolist())
    return sorted((i, j, tuple(shift)) for i, j, shift in rows)


def test_neighbour_lists_are_those_of_the_displaced_positions(mixed_frames):
    batch = reference.as_batch(mixed_frames, TYPE_NAMES, R_MAX)
    chosen = torch.tensor([True, False, True, True, True])
    frames = Frames(batch, chosen)
    kept = [mixed_frames[i] for i in (0, 2, 4)]  # the fourth is a single atom
    assert frames.sizes == [len(atoms) for atoms in kept]
    generator = torch.Generator().manual_seed(0)
    displacement = torch.rand(sum(frames.sizes), 3, generator=generator) - 0.5
    found = frames.displaced(displacement, R_MAX)
    expected, start = [], 0
    for atoms in kept:
        moved: ase.Atoms = atoms.copy()
        moved.positions += displacement[start : start + len(atoms)].numpy()
        i, j, shift = neighbor_list("ijS", moved, R_MAX)
        expected += [
            (a + start, b + start, tuple(c)) for a, b, c in zip(i, j, shift.astype(int).tolist())
        ]
        start += len(atoms)
    assert edges_of(found) == sorted(expected)
    assert torch.equal(found["cell"], batch["cell"][[0, 2, 4]])
    assert found["num_atoms"].tolist() == frames.sizes
    assert torch.equal(found["batch"], torch.repeat_interleave(frames.n_atoms))


def test_the_batch_itself_stays_as_it_is(mixed_frames):
    batch = reference.as_batch(mixed_frames, TYPE_NAMES, R_MAX)
    before = {key: value.clone() for key, value in batch.items()}
    frames = Frames(batch, torch.ones(5, dtype=torch.bool))
    frames.displaced(torch.full((sum(frames.sizes), 3), 0.3), R_MAX)
    assert batch.keys() == before.keys()
    for key, value in before.items():
        assert torch.equal(batch[key], value), key


def test_edge_fields_that_cannot_be_made_anew(mixed_frames):
    batch = reference.as_batch(mixed_frames[:2], TYPE_NAMES, R_MAX)
    batch["edge_lengths"] = torch.ones(batch["edge_index"].shape[1], 1)
    frames = Frames(batch, torch.ones(2, dtype=torch.bool))
    with pytest.raises(RuntimeError, match=r"edge_lengths.*data transform"):
        frames.displaced(torch.zeros(sum(frames.sizes), 3), R_MAX)


def test_keep_first():
    output = {
        "total_energy": torch.arange(3.0).unsqueeze(1),
        "forces": torch.arange(10.0).unsqueeze(1),
        "edge_index": torch.arange(12).view(2, 6),
        "edge_type_flat": torch.arange(12).view(2, 6),
        "edge_lengths": torch.arange(6.0).unsqueeze(1),
    }
    kept = keep_first(output, n_frames=2, n_atoms=7, n_edges=4)
    assert {key: tuple(value.shape) for key, value in kept.items()} == {
        "total_energy": (2, 1),
        "forces": (7, 1),
        "edge_index": (2, 4),
        "edge_type_flat": (2, 4),
        "edge_lengths": (4, 1),
    }
