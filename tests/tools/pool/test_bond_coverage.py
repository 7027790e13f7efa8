"""What is said of a pool beside the given frames."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from piwsl_plugins.tools.pool.bond_coverage import Distances, compare_bonds, distances_of, map_of


def test_distances_by_elements():
    found = distances_of([molecule("CH4"), molecule("H2O")], bonded=True)
    assert {pair: len(values) for pair, values in found.items()} == {"C–H": 4, "O–H": 2}
    found = distances_of([molecule("CH4")], bonded=False)
    assert {pair: len(values) for pair, values in found.items()} == {"H–H": 6, "C–H": 4}
    cell = Atoms("Cu", cell=[2.5, 20, 20], pbc=True)
    # to its images at ±2.5 and ±5 Å, the latter beyond the cut-off
    assert distances_of([cell], bonded=False)["Cu–Cu"] == pytest.approx([2.5, 2.5])


def test_share_of_the_given_distances():
    given, pool = np.array([1.01, 1.06, 1.11, 1.16]), np.array([1.02, 1.07, 1.13, 1.3])
    assert Distances("C–H", given, pool).covered == 0.75
    assert [d.pair for d in compare_bonds([molecule("CH4")], [molecule("CH3OH")])] == ["C–H"]


def test_the_map_parts_what_differs():
    """A torsion moves along the first direction; small noise does not."""
    turned = []
    for number in range(30):
        atoms = molecule("CH3CH2OH")
        atoms.set_dihedral(0, 1, 2, 3, 180 if number % 2 else 60)
        atoms.rattle(0.01, seed=number)
        turned.append(atoms)
    places, variance = map_of(turned)
    first, second = places[::2, 0], places[1::2, 0]
    assert abs(first.mean() - second.mean()) > 5 * max(first.std(), second.std())
    assert variance[0] > 0.5 > variance[1]
