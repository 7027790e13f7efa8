"""Neighbour lists of displaced structures, joining batches, and taking outputs apart."""

from __future__ import annotations

import ase
import numpy as np
import pytest
import torch
from ase.neighborlist import neighbor_list

from piwsl_plugins.nequip import structures
from piwsl_plugins.nequip.host import Describe
from piwsl_plugins.terms.neighbours import DisplacedEdges, NeighbourLists

from . import reference
from .conftest import TYPE_NAMES

R_MAX = 3.0


def edges_of(data):
    rows = zip(*data["edge_index"].tolist(), data["edge_cell_shift"].int().tolist())
    return sorted((i, j, tuple(shift)) for i, j, shift in rows)


def test_neighbour_lists_are_those_of_the_displaced_positions(mixed_frames):
    batch = reference.as_batch(mixed_frames, TYPE_NAMES, R_MAX)
    before = {key: value.clone() for key, value in batch.items()}
    keep = np.array([True, False, True, False, True])
    selected = structures.select(batch, keep, [len(atoms) for atoms in mixed_frames])
    kept = [mixed_frames[i] for i in (0, 2, 4)]
    sizes = [len(atoms) for atoms in kept]
    displacement = torch.rand(sum(sizes), 3, generator=torch.Generator().manual_seed(0)) - 0.5
    lists = NeighbourLists(structures.search, R_MAX)
    described = Describe(TYPE_NAMES)(batch).some(keep)
    described = described.with_lists(lists, 3**0.5 * 0.5, np.ones(3, dtype=bool))
    positions = selected["pos"] + displacement
    edges = DisplacedEdges(described.lists, sizes, R_MAX, positions.device).at(positions)
    found = structures.displaced(selected, positions, edges)
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
    assert found["num_atoms"].tolist() == sizes
    assert torch.equal(found["batch"], torch.repeat_interleave(found["num_atoms"]))
    assert batch.keys() == before.keys()
    for key, value in before.items():
        assert torch.equal(batch[key], value), key


def test_edge_fields_that_cannot_be_made_anew(mixed_frames):
    batch = reference.as_batch(mixed_frames[:2], TYPE_NAMES, R_MAX)
    batch["edge_lengths"] = torch.ones(batch["edge_index"].shape[1], 1)
    with pytest.raises(RuntimeError, match=r"edge_lengths.*data transform"):
        structures.select(batch, np.ones(2, dtype=bool), [len(a) for a in mixed_frames[:2]])


def test_joined_batches_are_taken_apart_again(mixed_frames):
    batches = [
        reference.as_batch(frames, TYPE_NAMES, R_MAX)
        for frames in (mixed_frames[:2], mixed_frames[2:3], mixed_frames[3:])
    ]
    together = reference.as_batch(mixed_frames, TYPE_NAMES, R_MAX)
    joined = structures.join(batches)
    assert joined.keys() == together.keys()
    for key, value in together.items():
        torch.testing.assert_close(joined[key], value, rtol=0, atol=0, equal_nan=True)
    joined.pop("edge_index")
    for part, batch in zip(structures.split(joined, batches), batches):
        for key, value in part.items():
            torch.testing.assert_close(value, batch[key], rtol=0, atol=0, equal_nan=True)


def test_what_only_some_structures_have(mixed_frames):
    """A label is NaN for the others, a lattice 0 and a weight 1; what a model reads is whole."""
    plain = reference.as_batch(mixed_frames[:1], TYPE_NAMES, R_MAX)
    for key in ("forces", "cell", "pbc", "atomic_numbers"):
        del plain[key]
    pool = reference.as_batch(mixed_frames[2:3], TYPE_NAMES, R_MAX)
    pool[structures.WEIGHT] = torch.full((1, 1), 0.25)
    joined = structures.join([plain, pool])
    n = len(mixed_frames[0])
    assert joined["forces"][:n].isnan().all()
    assert torch.equal(joined["forces"][n:], pool["forces"])
    assert joined["cell"][0].abs().sum() == 0 and torch.equal(joined["cell"][1:], pool["cell"])
    assert joined["pbc"].tolist() == [[False] * 3, [True] * 3]
    assert joined[structures.WEIGHT].tolist() == [[1.0], [0.25]]
    assert "atomic_numbers" not in joined
    numbers = structures.numbers_of(joined, TYPE_NAMES).tolist()
    assert numbers == [*mixed_frames[0].numbers, *mixed_frames[2].numbers]
