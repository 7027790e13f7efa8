"""Structures are found by what they are, in a time that does not grow with their number."""

import dataclasses
import itertools

import ase.build
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from piwsl_plugins.frames import identity
from piwsl_plugins.frames.identity import StructureIndex, _Group
from piwsl_plugins.frames.structure import TOLERANCE, Structure

ETHANOL = ase.build.molecule("CH3CH2OH")


def rattled(n, seed=0, size=0.05):
    noise = np.random.default_rng(seed).normal(0.0, size, (n, len(ETHANOL), 3))
    return ETHANOL.positions + noise


def molecule(positions, numbers=ETHANOL.numbers, **given):
    return Structure.of(numbers, positions, **given)


def index_of(positions):
    return StructureIndex(map(molecule, positions))


def nearest(positions, point):
    """By comparison with all."""
    differences = np.abs(positions - point).max(axis=(1, 2))
    best = int(differences.argmin())
    return best if differences[best] <= TOLERANCE else None


def test_the_nearest_within_the_tolerance_is_found():
    """Structures crowd here: many are within the tolerance of several others, and many of none."""
    random = np.random.default_rng(1)
    positions = rattled(300, size=1e-3)
    positions = np.concatenate(
        [positions, positions[:100] + random.uniform(-1e-3, 1e-3, (100, 9, 3))]
    )
    index = index_of(positions)
    found = 0
    for one in positions:
        for size in (0.0, 0.9e-3, 1.4e-3):
            point = one + random.uniform(-size, size, one.shape)
            expected = nearest(positions, point)
            assert index.find(molecule(point)) == expected
            found += expected is not None
    assert 600 < found < 1100


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_tolerance_is_that_of_every_coordinate(sign):
    positions = rattled(100)
    index = index_of(positions)
    for number, one in enumerate(positions):
        assert index.find(molecule(one + sign * 0.999 * TOLERANCE)) == number
        assert index.find(molecule(one + sign * 1.001 * TOLERANCE)) is None


def test_atoms_and_their_order_count():
    positions = rattled(3)
    backwards = ETHANOL.numbers[::-1]
    index = index_of(positions[:2])
    index.add(molecule(positions[2], backwards))
    assert index.find(molecule(positions[1])) == 1
    assert index.find(molecule(positions[2])) is None
    assert index.find(molecule(positions[2], backwards)) == 2
    assert index.find(molecule(positions[0][:3], ETHANOL.numbers[:3])) is None


def test_single_precision_is_near_enough():
    positions = rattled(50) + 100.0
    index = index_of(positions)
    found = [index.find(molecule(one.astype(np.float32))) for one in positions]
    assert found == list(range(50))


@pytest.mark.parametrize("fixed", [0, 7])
def test_comparisons_do_not_grow_with_the_number_of_structures(fixed, monkeypatch):
    """... even if most atoms never move, as in the lower layers of a slab."""
    distances, compared = _Group._distances, itertools.count()

    def counting(self, structure, rows):
        for _ in rows:
            next(compared)
        return distances(self, structure, rows)

    monkeypatch.setattr(_Group, "_distances", counting)
    per_structure = {}
    for n in (500, 8000):
        positions = rattled(n)
        positions[:, :fixed] = ETHANOL.positions[:fixed]
        index = index_of(positions)
        index.find(molecule(positions[0]))  # sorts them
        before = next(compared)
        assert [index.find(molecule(one)) for one in positions] == list(range(n))
        per_structure[n] = (next(compared) - before - 1) / n
    assert per_structure[500] >= 1.0
    assert per_structure[8000] < 1.2


def test_repetitions_are_found_while_structures_are_added():
    positions = rattled(400)
    index, n_new = StructureIndex(), 0
    for number in np.random.default_rng(2).integers(0, 400, 3000):
        n_new += index.find_or_add(molecule(positions[number] + 4e-4))[1]
    assert n_new == len(index) <= 400
    assert all(index.find(molecule(one)) is not None for one in positions[:50]) == (n_new == 400)


# ---------------------------------------------------------------- periodic structures
PERIODIC = {
    "crystal": (True, True, True),
    "slab": (True, True, False),
    "wire": (False, True, False),
}


def crystal(pbc, seed=0):
    """Atoms well inside and on the faces of a skew cell."""
    random = np.random.default_rng(seed)
    cell = np.diag([4.0, 5.0, 6.0]) + random.normal(0.0, 0.6, (3, 3))
    fractions = random.uniform(0.0, 1.0, (8, 3))
    fractions[:4] = np.round(fractions[:4])  # at corners: rounding moves them to the other face
    return Structure.of(random.integers(1, 9, 8), fractions @ cell, cell, pbc)


@pytest.mark.parametrize("kind", PERIODIC)
def test_lattice_vectors_make_no_other_structure_and_others_do(kind):
    pbc = np.array(PERIODIC[kind])
    random = np.random.default_rng(3)
    crystals = [crystal(pbc, seed) for seed in range(6)]
    # many of the same elements, so that they are sorted
    crystals = [dataclasses.replace(one, numbers=crystals[0].numbers) for one in crystals]
    others = [
        dataclasses.replace(crystals[0], positions=crystals[0].positions + shift)
        for shift in random.normal(0.0, 0.3, (200, 8, 3))
    ]
    index = StructureIndex([*crystals, *others])
    for number, one in enumerate(crystals):
        for _ in range(20):
            shift = random.integers(-2, 3, (8, 3))
            within = random.uniform(-0.9e-3, 0.9e-3, (8, 3))
            moved = one.positions + (shift * pbc) @ one.cell + within
            assert index.find(dataclasses.replace(one, positions=moved)) == number
            if not pbc.all():
                shift[0, np.flatnonzero(~pbc)[0]] = 1
                moved = one.positions + shift @ one.cell
                assert index.find(dataclasses.replace(one, positions=moved)) is None
        moved = one.positions.copy()
        moved[5] += 0.5 * one.cell[1]  # not a whole vector
        assert index.find(dataclasses.replace(one, positions=moved)) is None


@pytest.mark.parametrize("kind", PERIODIC)
def test_a_cell_counts_where_it_is_periodic(kind):
    pbc = np.array(PERIODIC[kind])
    one = crystal(pbc)
    index = StructureIndex([one])
    for direction, periodic in enumerate(pbc):
        cell = one.cell.copy()
        cell[direction] += 0.01
        other = dataclasses.replace(one, cell=cell)
        assert index.find(other) == (None if periodic else 0)
        if periodic:
            assert "another cell (by up to 0.01 Å)" in index.near_misses(other)[0]
        near = dataclasses.replace(one, cell=np.where(pbc[:, None], one.cell + 4.9e-4, cell))
        assert index.find(near) == 0


@pytest.mark.parametrize("pbc", itertools.product([True, False], repeat=3))
def test_the_same_positions_with_other_periodic_directions(pbc):
    one = crystal(np.array([True, False, True]))
    index = StructureIndex([one])
    other = dataclasses.replace(one, pbc=np.array(pbc))
    same = pbc == (True, False, True)
    assert index.find(other) == (0 if same else None)
    misses = index.near_misses(other)
    assert not misses if same else "other periodic directions (a c, and" in misses[0]


@pytest.mark.parametrize("cells", [3, 30])
def test_unwrapped_atoms_in_a_cell_of_few_digits(cells):
    """A trajectory that nobody wrapped, in a file that rounds the cell to 0.001 Å."""
    random = np.random.default_rng(4)
    pbc = np.ones(3, dtype=bool)
    far = [
        dataclasses.replace(one, positions=one.positions + shift @ one.cell)
        for one in (crystal(pbc, seed) for seed in range(60))
        for shift in [random.integers(-cells, cells + 1, (8, 3))]
    ]
    index = StructureIndex(far)
    for number, one in enumerate(far):
        assert index.find(dataclasses.replace(one, cell=np.round(one.cell, 3))) == number


@pytest.mark.parametrize("kind", PERIODIC)
def test_the_nearest_is_found_across_a_face(kind):
    """... not the one that is nearest as the two stand."""
    pbc = np.array(PERIODIC[kind])
    one = crystal(pbc)
    shift = np.zeros((8, 3), dtype=int)
    shift[5, np.flatnonzero(pbc)[0]] = 1
    near, there = (
        dataclasses.replace(one, positions=one.positions + apart)
        for apart in (8e-4, 1e-4 + shift @ one.cell)
    )
    for structures, number in (([near, there], 1), ([there, near], 0)):
        assert StructureIndex(structures).find(one) == number
    assert StructureIndex([near]).find(one) == 0


@pytest.mark.parametrize("pbc", [False, True])
def test_many_structures_are_sorted_as_they_come(pbc, monkeypatch):
    """Whatever part of them decides how, and however many at a time."""
    monkeypatch.setattr(identity, "N_DECIDING", 5)
    monkeypatch.setattr(identity, "BLOCK", 3)
    cell = np.diag([9.0, 10.0, 11.0])
    given = {"cell": cell, "pbc": [pbc] * 3}
    structures = [molecule(one, **given) for one in rattled(60)]
    index = StructureIndex()
    for number, one in enumerate(structures):
        assert index.find_or_add(one) == (number, True)
        assert index.find_or_add(structures[number // 2]) == (number // 2, False)
    assert [index.find(one) for one in structures] == list(range(60))


def test_a_rotated_structure_is_another():
    one = crystal(np.ones(3, dtype=bool))
    turn = Rotation.from_euler("z", 10.0, degrees=True).as_matrix()
    turned = dataclasses.replace(one, positions=one.positions @ turn, cell=one.cell @ turn)
    assert StructureIndex([one]).find(turned) is None


# ---------------------------------------------------------------- charge, spin, level
@pytest.mark.parametrize(
    ("given", "other", "reason"),
    [
        ({}, {"charge": 0.0, "spin": 1}, ""),
        ({"charge": 1, "spin": 2}, {"charge": 1}, ""),  # 25 electrons: a doublet is the lowest
        ({"charge": 1, "spin": 1}, {"charge": 1, "spin": 2}, ""),  # a program's default of 1
        ({}, {"charge": 1}, "another charge (0, and 1)"),
        ({"charge": -1}, {"charge": 1}, "another charge (-1, and 1)"),
        ({"spin": 3}, {}, "another spin multiplicity (3, and the lowest)"),
        ({"charge": 1, "spin": 4}, {"charge": 1}, "another spin multiplicity (4, and the lowest)"),
        ({"level": "pbe"}, {"level": "pbe"}, ""),
        ({"level": "pbe"}, {}, ""),
        ({"level": "pbe"}, {"level": "ccsd"}, "another level of theory (pbe, and ccsd)"),
    ],
)
def test_the_state_counts(given, other, reason):
    index = StructureIndex([molecule(ETHANOL.positions, **given)])
    asked = molecule(ETHANOL.positions, **other)
    assert index.find(asked) == (None if reason else 0)
    assert index.near_misses(asked) == ({0: reason} if reason else {})


def test_each_of_several_states_is_found():
    states = [{"charge": charge, "spin": spin} for charge in (-1, 0, 1) for spin in (1, 3, 4)]
    index = StructureIndex(molecule(ETHANOL.positions, **state) for state in states)
    for number, state in enumerate(states):
        found = index.find(molecule(ETHANOL.positions, **state))
        assert index[found].charge == state["charge"]
        assert index[found].unpaired == index[number].unpaired
