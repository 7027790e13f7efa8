import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential

from piwsl_plugins.tools.report.parts.scans import ScanOptions
from piwsl_plugins.tools.report.parts.scans.analyse import followed
from piwsl_plugins.tools.report.parts.scans.measure import bond_stretches, follow, path_scan

from ..conftest import frames_of
from ..known_calculators import Changed, Quadratic, ethanol, stiff_hessian

OPTIONS = ScanOptions(scan_points=25, stretch=(0.8, 1.6))


@pytest.fixture
def along(as_model, nothing):
    """A calculator along a scan."""

    def run(calculator, scan):
        return followed(scan.name, follow(as_model(calculator), scan, nothing))

    return run


def test_each_bonded_pair_of_elements_is_stretched_once():
    scans = bond_stretches(frames_of([ethanol(), ethanol(), molecule("H2O")]), OPTIONS)
    assert sorted(scan.name for scan in scans) == [
        "stretch-C2H6O-CC",
        "stretch-C2H6O-CH",
        "stretch-C2H6O-CO",
        "stretch-C2H6O-OH",
        "stretch-H2O-OH",
    ]


def test_only_the_bond_changes_its_length():
    atoms = ethanol()
    carbons = [atom.index for atom in atoms if atom.symbol == "C"]
    scan = next(s for s in bond_stretches(frames_of([atoms]), OPTIONS) if s.name.endswith("CC"))
    bond = atoms.get_distance(*carbons)
    assert scan.coordinate[[0, -1]] == pytest.approx([0.8 * bond, 1.6 * bond])
    for length, structure in zip(scan.coordinate, scan.structures, strict=True):
        assert structure.get_distance(*carbons) == pytest.approx(length)
        # the CH3 group moves as a whole, or the rest does
        methyl = [a.index for a in atoms if a.symbol == "H" and near(atoms, a.index, carbons)]
        assert len(methyl) == 5
        for index in methyl:
            carbon = min(carbons, key=lambda c: atoms.get_distance(index, c))
            assert structure.get_distance(index, carbon) == pytest.approx(
                atoms.get_distance(index, carbon)
            )


def near(atoms, index, others):
    return min(atoms.get_distance(index, other) for other in others) < 1.2


def test_crystals_move_one_atom():
    atoms = bulk("Cu", cubic=True) * 2
    atoms.rattle(0.02, seed=0)
    (scan,) = bond_stretches(frames_of([atoms]), OPTIONS)
    moved = np.linalg.norm(scan.structures[-1].positions - atoms.positions, axis=1) > 1e-9
    assert moved.sum() == 1


def test_a_smooth_conservative_model_has_no_mismatch(along):
    for structure, calculator in (
        (bulk("Cu", cubic=True), EMT()),
        (Atoms("H2", [[0, 0, 0], [0, 0, 0.74]]), MorsePotential(epsilon=4.5, r0=0.74, rho0=1.5)),
    ):
        (scan,) = bond_stretches(frames_of([structure]), OPTIONS)
        found = along(calculator, scan).smoothness()
        # what is left is Simpson's rule's own error
        assert found["mismatch"] < 1
        assert found["jump"] < 0.1
        assert found["not_finite"] == 0


def test_energy_and_force_are_those_of_the_model(along):
    hydrogen = Atoms("H2", [[0, 0, 0], [0, 0, 0.74]])
    (scan,) = bond_stretches(frames_of([hydrogen]), OPTIONS)
    result = along(MorsePotential(epsilon=4.5, r0=0.74, rho0=1.5), scan)
    x = scan.coordinate / 0.74
    decay = np.exp(1.5 * (1 - x))
    assert result.energy == pytest.approx(4.5 * decay * (decay - 2), abs=1e-10)
    force = -2 * 4.5 * 1.5 / 0.74 * decay * (1 - decay)
    assert result.force == pytest.approx(force, abs=1e-9)
    assert result.smoothness()["flips"] == 1


def test_jump_and_mismatch_are_measured(along):
    atoms = ethanol()
    structures = []
    for shift in np.linspace(0, 0.4, 21):
        moved = atoms.copy()
        moved.positions[0, 0] += shift
        structures.append(moved)

    def step(at, results):
        if at.positions[0, 0] > atoms.positions[0, 0] + 0.205:
            results["energy"] += 0.3

    harmonic = Quadratic(atoms.positions, stiff_hessian(9))
    scan = path_scan("shift", frames_of(structures))
    assert scan.coordinate[-1] == pytest.approx(0.4)
    smooth = along(harmonic, scan).smoothness()
    assert smooth["jump"] < 1e-6 and smooth["mismatch"] < 1e-6
    result = along(Changed(harmonic, change=step), scan)
    assert result.smoothness()["jump"] == pytest.approx(300, abs=1e-3)
    # 0.3 eV over one of 20 steps of 0.02 Å
    assert result.smoothness()["mismatch"] == pytest.approx(1000 * 0.3 / 0.02 / 20)
    scaled = along(Changed(harmonic, 0.5), scan).smoothness()
    slope = stiff_hessian(9)[0, 0]
    assert scaled["mismatch"] == pytest.approx(1000 * 0.5 * slope * 0.2, rel=1e-6)


def test_labelled_paths_give_energy_barrier_and_curvature(along):
    atoms = ethanol()
    hessian, structures, energies = stiff_hessian(9), [], []
    for shift in np.linspace(0, 0.3, 16):
        moved = atoms.copy()
        moved.positions[0, 0] += shift
        structures.append(moved)
        energies.append(-100 + 0.5 * hessian[0, 0] * shift**2)
    scan = path_scan("shift", frames_of(structures, energy=energies))
    softer = Quadratic(atoms.positions, 0.8 * hessian)
    found = along(softer, scan).against_labels()
    assert found["path_curvature_slope"].value == pytest.approx(0.8, rel=1e-6)
    barrier = 1000 * 0.5 * hessian[0, 0] * 0.3**2
    assert found["path_barrier_error"].value == pytest.approx(-0.2 * barrier, rel=1e-6)
    exact = Quadratic(atoms.positions, hessian, offset=7.0)
    found = along(exact, scan).against_labels()
    assert found["path_energy_rmse"].value == pytest.approx(0, abs=1e-6)


def test_points_that_are_not_finite_are_counted(along):
    def hole(atoms, results):
        if atoms.get_distance(0, 1) > 1.0:
            results["energy"] = np.nan

    hydrogen = Atoms("H2", [[0, 0, 0], [0, 0, 0.74]])
    (scan,) = bond_stretches(frames_of([hydrogen]), OPTIONS)
    morse = MorsePotential(epsilon=4.5, r0=0.74, rho0=1.5)
    result = along(Changed(morse, change=hole), scan)
    found = result.smoothness()
    assert found["not_finite"] == np.sum(scan.coordinate > 1.0)
    assert np.isfinite(found["mismatch"])
