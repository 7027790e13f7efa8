"""Structures are found by geometry, with a number of comparisons that does not grow."""

import itertools

import ase.build
import numpy as np
import pytest

from piwsl_plugins.core.geometry_index import N_SORTED, WIDTH, GeometryIndex, _Group

TOLERANCE = 1e-3
ETHANOL = ase.build.molecule("CH3CH2OH")


def rattled(n, seed=0, size=0.05):
    noise = np.random.default_rng(seed).normal(0.0, size, (n, len(ETHANOL), 3))
    return ETHANOL.positions + noise


def index_of(positions, numbers=ETHANOL.numbers):
    return GeometryIndex(((numbers, one) for one in positions), TOLERANCE)


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
            assert index.find(ETHANOL.numbers, point) == expected
            found += expected is not None
    assert 600 < found < 1100


@pytest.mark.parametrize("sign", [-1, 1])
def test_differences_across_the_edges_of_intervals(sign):
    """All coordinates that are sorted by lie at an edge, and the structure beyond it."""
    flat = rattled(20).reshape(20, -1)
    flat[:, :N_SORTED] = WIDTH * np.arange(20)[:, None]
    index = index_of(flat.reshape(20, 9, 3))
    for number, row in enumerate(flat):
        point = (row + sign * 0.999 * TOLERANCE).reshape(9, 3)
        assert index.find(ETHANOL.numbers, point) == number
        point = (row + sign * 1.001 * TOLERANCE).reshape(9, 3)
        assert index.find(ETHANOL.numbers, point) is None


def test_atoms_and_their_order_count():
    positions = rattled(3)
    index = GeometryIndex(
        zip([ETHANOL.numbers] * 2 + [ETHANOL.numbers[::-1]], positions), TOLERANCE
    )
    assert index.find(ETHANOL.numbers, positions[1]) == 1
    assert index.find(ETHANOL.numbers, positions[2]) is None
    assert index.find(ETHANOL.numbers[::-1], positions[2]) == 2
    assert index.find(ETHANOL.numbers[:3], positions[0][:3]) is None


def test_single_precision_is_near_enough():
    positions = rattled(50) + 100.0
    index = index_of(positions)
    found = [index.find(ETHANOL.numbers, one.astype(np.float32)) for one in positions]
    assert found == list(range(50))


@pytest.mark.parametrize("fixed", [0, 7])
def test_comparisons_do_not_grow_with_the_number_of_structures(fixed, monkeypatch):
    """... even if most atoms never move, as in the lower layers of a slab."""
    near, compared = _Group._near, itertools.count()

    def counting(self, point):
        for row in near(self, point):
            next(compared)
            yield row

    monkeypatch.setattr(_Group, "_near", counting)
    per_structure = {}
    for n in (500, 8000):
        positions = rattled(n)
        positions[:, :fixed] = ETHANOL.positions[:fixed]
        index, before = index_of(positions), next(compared)
        assert [index.find(ETHANOL.numbers, one) for one in positions] == list(range(n))
        per_structure[n] = (next(compared) - before - 1) / n
    assert per_structure[500] >= 1.0
    assert per_structure[8000] < 1.2
