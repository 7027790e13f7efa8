"""What ends a trajectory, and what does not."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from piwsl_plugins.tools.pool.soundness import Soundness, consists_of_molecules


def problem(start, changed, allow_reactions=False, energy=0.0, forces=None):
    sound = Soundness(start, 300.0, allow_reactions)
    zero = np.zeros((len(changed), 3))
    changed.calc = SinglePointCalculator(
        changed, energy=energy, forces=zero if forces is None else forces
    )
    return sound.problem(changed)


def moved(atoms, index, vector):
    changed = atoms.copy()
    changed.positions[index] += vector
    return changed


def outwards(atoms, index, neighbour, by):
    vector = atoms.get_distance(neighbour, index, vector=True)
    return moved(atoms, index, by * vector / np.linalg.norm(vector))


ETHANOL = molecule("CH3CH2OH")


def test_thermal_motion_is_sound():
    for seed in range(20):
        changed = ETHANOL.copy()
        changed.rattle(0.08, seed=seed)
        assert problem(ETHANOL, changed) == ""


def nearest(index, candidates):
    return candidates[int(np.argmin(ETHANOL.get_distances(index, candidates)))]


OXYGEN, HYDROGEN = 2, 8
PROTON = nearest(OXYGEN, range(3, 9))


@pytest.mark.parametrize(
    ("away", "centre", "words"),
    [
        ((OXYGEN, PROTON), nearest(OXYGEN, [0, 1]), "C–O bond broken"),
        ((PROTON,), OXYGEN, "proton detached"),
        ((HYDROGEN,), nearest(HYDROGEN, [0, 1]), "C–H bond broken"),
    ],
)
def test_broken_bonds(away, centre, words):
    """Atoms pulled 1.5 Å off the atom that they are bonded to."""
    vector = ETHANOL.get_distance(centre, away[0], vector=True)
    changed = moved(ETHANOL, list(away), 1.5 * vector / np.linalg.norm(vector))
    assert problem(ETHANOL, changed) == words
    assert problem(ETHANOL, changed, allow_reactions=True) == ""


def test_a_proton_may_be_handed_over_but_no_hydrogen_of_carbon():
    """Between two oxygen atoms, as in acetylacetone; then towards a carbon atom."""
    start = Atoms("OHO", [[0, 0, 0], [1.0, 0, 0], [2.5, 0, 0]])
    assert problem(start, moved(start, 1, [0.25, 0, 0])) == ""
    assert problem(start, moved(start, 1, [0.5, 0, 0])) == ""
    assert problem(start, moved(start, 1, [0, 1.6, 0])) == "proton detached"
    carbon = Atoms("CHO", [[0, 0, 0], [1.1, 0, 0], [2.9, 0, 0]])
    assert problem(carbon, moved(carbon, 1, [0.75, 0, 0])) in ("C–H bond broken", "O–H bond formed")


def test_new_bonds():
    pair = Atoms("N4", [[0, 0, 0], [1.1, 0, 0], [0, 0, 4], [1.1, 0, 4]])
    closer = pair.copy()
    closer.positions[2:, 2] = 1.6
    assert problem(pair, closer) == "N–N bond formed"
    # near from the beginning, a stretched bond may close again
    stretched = Atoms("N2", [[0, 0, 0], [1.9, 0, 0]])
    assert problem(stretched, moved(stretched, 1, [-0.7, 0, 0])) == ""


def test_collapse_heat_and_numbers_that_are_none():
    assert problem(ETHANOL, outwards(ETHANOL, 8, 0, -0.7)) == "atoms collapsed onto each other"
    hot = ETHANOL.copy()
    hot.set_momenta(np.full((9, 3), 5.0))
    assert problem(ETHANOL, hot) == "temperature ran away"
    assert problem(ETHANOL, ETHANOL.copy(), energy=np.nan) == "energy not finite"
    forces = np.full((9, 3), np.inf)
    assert problem(ETHANOL, ETHANOL.copy(), forces=forces) == "positions or forces not finite"


def test_the_volume_of_cells():
    copper = bulk("Cu", cubic=True)
    for factor, words in ((1.1, ""), (1.3, "cell burst"), (0.78, "cell collapsed")):
        changed = copper.copy()
        changed.set_cell(copper.cell * factor, scale_atoms=True)
        assert problem(copper, changed) == words


def water_cell():
    cell = molecule("H2O", cell=[3.2, 3.2, 3.2], pbc=True)
    cell.positions[:, 2] += 1.5
    return cell


def test_crystals_may_rearrange_molecules_in_cells_may_not():
    silicon = bulk("Si", cubic=True)
    assert not consists_of_molecules(silicon)
    assert not consists_of_molecules(bulk("Cu", cubic=True))
    assert problem(silicon, moved(silicon, 0, [0.9, 0, 0])) == ""
    water = water_cell()
    assert consists_of_molecules(water) and consists_of_molecules(ETHANOL)
    # over the face of the cell it is still the same bond
    water.wrap()
    assert problem(water, moved(water, 1, [0, 0, 3.2])) == ""
    assert problem(water, moved(water, 1, [0, 0.9, 0])) == "proton detached"


def test_metals_coordinate_as_they_like():
    cluster = Atoms("Cu4", [[0, 0, 0], [2.5, 0, 0], [0, 2.5, 0], [0, 0, 2.5]])
    assert problem(cluster, moved(cluster, 3, [0, 0, 3])) == ""
    complexed = Atoms("CuCO", [[0, 0, 0], [1.9, 0, 0], [3.05, 0, 0]])
    away = complexed.copy()
    away.positions[1:] += [2, 0, 0]
    assert problem(complexed, away) == ""
