"""Edges of displaced structures: exactly those that a search there finds, and few searches."""

from __future__ import annotations

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, fcc111
from ase.neighborlist import primitive_neighbor_list

from piwsl_plugins.terms.host import Structures
from piwsl_plugins.terms.neighbours import DisplacedEdges, NeighbourLists

from ..bundled import bundled

R_MAX = 4.0
CPU = torch.device("cpu")


class Search:
    """ASE's neighbour list, counted."""

    def __init__(self):
        self.n_calls = 0

    def __call__(self, positions, cell, pbc, cutoff):
        self.n_calls += 1
        first, second, cells = primitive_neighbor_list("ijS", pbc, cell, positions, cutoff)
        return np.array([first, second]), cells.astype(float)


def slab():
    atoms = fcc111("Cu", (2, 2, 2), vacuum=6.0)
    atoms.rattle(0.1, seed=1)
    return atoms


STRUCTURES = {
    "molecule": lambda: bundled("ethanol_gfn2_train", 0),
    "box": lambda: bundled("periodic_gfn2_train", 0),
    "cell smaller than the cutoff": lambda: bulk("NaCl", "rocksalt", 5.6),
    "slab": slab,
}


def described(structures, dtype=torch.float64):
    return Structures.of(
        [len(atoms) for atoms in structures],
        torch.from_numpy(np.concatenate([atoms.positions for atoms in structures])).to(dtype),
        torch.from_numpy(np.concatenate([atoms.numbers for atoms in structures])),
        np.array([atoms.cell.array for atoms in structures]),
        np.array([atoms.pbc for atoms in structures]),
        np.ones(len(structures), dtype=bool),
    )


def searched(structures, positions):
    """Pairs and cells that a search at these positions finds, atoms numbered through."""
    found, start = set(), 0
    for atoms in structures:
        own = positions[start : start + len(atoms)].double().numpy()
        (first, second), cells = Search()(own, atoms.cell.array, atoms.pbc, R_MAX)
        for i, j, shift in zip(first.tolist(), second.tolist(), cells.astype(int).tolist()):
            found.add((i + start, j + start, tuple(shift)))
        start += len(atoms)
    return found


def as_set(edges):
    triples = zip(*edges.index().tolist(), map(tuple, edges.cells().int().tolist()))
    as_list = list(triples)
    assert len(set(as_list)) == len(as_list)
    return set(as_list)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reach", [0.0, 0.02, 0.3])
def test_edges_are_those_of_a_search_at_the_displaced_positions(reach, dtype):
    structures = [make() for make in STRUCTURES.values()]
    lists = NeighbourLists(Search(), R_MAX)
    some = described(structures, dtype).with_lists(lists, reach, np.ones(4, dtype=bool))
    edges_at = DisplacedEdges(some.lists, some.sizes, R_MAX, CPU)
    random = torch.Generator().manual_seed(0)
    changed = 0
    for _ in range(20):
        field = torch.randn(len(some.positions), 3, generator=random, dtype=torch.float64)
        field = reach * torch.nn.functional.normalize(field, dim=1)
        positions = some.positions + field.to(dtype)
        edges = edges_at.at(positions)
        expected = searched(structures, positions)
        assert as_set(edges) == expected
        changed += expected != searched(structures, some.positions)
        cells = np.repeat([a.cell.array for a in structures], some.sizes, axis=0)
        shifts = np.einsum("ei,eij->ej", edges.cells().double(), cells[edges.index()[0]])
        assert edges.shifts().dtype == edges.cells().dtype == dtype
        assert np.allclose(edges.shifts(), shifts, atol=1e-5)
    assert bool(changed) == (reach > 0)  # pairs have come and gone


def test_a_list_is_made_once_per_structure_and_again_if_atoms_move_further():
    search = Search()
    lists = NeighbourLists(search, R_MAX)
    structures = [make() for make in STRUCTURES.values()]
    every = np.ones(4, dtype=bool)
    for _ in range(3):
        some = described(structures).with_lists(lists, 0.1, every)
    assert search.n_calls == 4
    assert described(structures[::-1]).with_lists(lists, 0.05, every).lists == some.lists[::-1]
    assert search.n_calls == 4
    further = described(structures).with_lists(lists, 0.2, every)
    assert search.n_calls == 8 and all(skin.reach == 0.2 for skin in further.lists)
    stretched = structures[1].copy()
    stretched.set_cell(1.01 * stretched.cell.array)  # the same positions in another cell
    described([stretched]).with_lists(lists, 0.1, every[:1])
    assert search.n_calls == 9


def test_beyond_the_memory_for_them_lists_are_made_each_time():
    search, structures = Search(), [make() for make in STRUCTURES.values()]
    every = np.ones(4, dtype=bool)
    made = described(structures).with_lists(NeighbourLists(search, R_MAX), 0.1, every).lists
    sizes = [skin.n_bytes for skin in made]
    lists = NeighbourLists(search, R_MAX, memory=sizes[0] + sizes[1] + 1)
    search.n_calls = 0
    for _ in range(3):
        again = described(structures).with_lists(lists, 0.1, every).lists
    assert search.n_calls == 4 + 2 * 2
    for first, second in zip(made, again):
        assert np.array_equal(first.shell.index, second.shell.index)


def test_only_those_asked_for_get_lists():
    search, structures = Search(), [make() for make in STRUCTURES.values()]
    which = np.array([False, True, False, True])
    some = described(structures).with_lists(NeighbourLists(search, R_MAX), 0.1, which)
    assert [skin is not None for skin in some.lists] == which.tolist() and search.n_calls == 2


def test_parts_and_joined_batches_of_structures():
    structures = [make() for make in STRUCTURES.values()] + [ase.Atoms("O", [[0, 0, 0]])]
    whole = described(structures)
    assert whole.carry.tolist() == [True] * 4 + [False]
    keep = np.array([True, False, True, False, True])
    some, other = whole.some(keep), whole.some(~keep)
    joined = Structures.joined([some, other])
    assert joined.sizes == [whole.sizes[i] for i in (0, 2, 4, 1, 3)]
    order = described([structures[i] for i in (0, 2, 4, 1, 3)])
    for name in ("positions", "numbers", "cells", "pbc", "carry", "keys"):
        assert np.array_equal(getattr(joined, name), getattr(order, name)), name
