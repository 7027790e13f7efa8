"""Hessians and probes against potentials whose derivatives are known."""

import numpy as np
import pytest
from ase.build import bulk
from ase.constraints import FixAtoms
from scipy.spatial.transform import Rotation

from piwsl_plugins.tools.hessian.differences import (
    NotFiniteError,
    curvatures,
    force_changes,
    hessian,
)
from piwsl_plugins.tools.hessian.probes import draw_probes
from piwsl_plugins.tools.hessian.settings import HessianSettings

from .conftest import rattled_crystal, rattled_ethanol
from .known_hessians import Harmonic, known_hessian, lennard_jones, pair_hessian


def attached(atoms, calculator):
    atoms.calc = calculator
    return atoms


def argon(seed=0):
    atoms = bulk("Ar", "fcc", a=4.2, cubic=True)
    shear = np.array([[1, 0.05, 0], [0, 1, 0.02], [0, 0, 1]])
    atoms.set_cell(atoms.cell.array @ shear, scale_atoms=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


def cluster():
    atoms = argon()
    atoms.pbc = False
    return atoms


def test_hessian_of_a_harmonic_potential_away_from_its_minimum():
    atoms = attached(rattled_ethanol(0), Harmonic())
    before = atoms.positions.copy()
    found, asymmetry = hessian(atoms, 0.005)
    assert np.abs(found - known_hessian()).max() < 1e-8
    assert asymmetry < 1e-8
    assert np.array_equal(atoms.positions, before)


@pytest.mark.parametrize("make", [argon, cluster])
def test_hessian_of_a_pair_potential_in_a_skewed_cell_and_without_one(make):
    atoms = attached(make(), lennard_jones())
    exact = pair_hessian(atoms)
    assert np.abs(exact).max() > 0.5
    assert np.abs(hessian(atoms, 2e-4)[0] - exact).max() < 1e-6


def test_error_of_central_differences_is_of_second_order_in_the_step():
    atoms = attached(cluster(), lennard_jones())
    exact = pair_hessian(atoms)
    coarse, fine = (np.abs(hessian(atoms, step)[0] - exact).max() for step in (0.01, 0.005))
    assert coarse / fine == pytest.approx(4, rel=0.01)
    assert fine < 5e-4 * np.abs(exact).max()


def test_translations_cost_nothing():
    found, _ = hessian(attached(argon(), lennard_jones()), 0.005)
    blocks = found.reshape(-1, 4, 3)
    assert np.abs(blocks).max() > 0.5
    assert np.abs(blocks.sum(axis=1)).max() < 1e-4


def test_hessian_turns_with_the_molecule():
    atoms = attached(cluster(), lennard_jones())
    rotation = Rotation.from_euler("xyz", [0.3, -1.1, 2.0]).as_matrix()
    turned = atoms.copy()
    turned.positions = atoms.positions @ rotation.T
    attached(turned, lennard_jones())
    big = np.kron(np.eye(len(atoms)), rotation)
    expected = big @ hessian(atoms, 5e-4)[0] @ big.T
    assert np.abs(hessian(turned, 5e-4)[0] - expected).max() < 2e-6


def test_constraints_are_ignored():
    free, fixed = (attached(cluster(), lennard_jones()) for _ in range(2))
    fixed.set_constraint(FixAtoms([0, 2]))
    assert np.array_equal(hessian(free, 0.01)[0], hessian(fixed, 0.01)[0])
    probes = draw_probes(free, HessianSettings(probes=2))
    assert np.array_equal(curvatures(free, probes), curvatures(fixed, probes))
    assert np.array_equal(force_changes(free, probes), force_changes(fixed, probes))


def test_forces_that_are_no_gradient_show_as_asymmetry():
    found, asymmetry = hessian(attached(rattled_ethanol(0), Harmonic(antisymmetric=3.0)), 0.005)
    assert asymmetry == pytest.approx(6.0)
    assert np.abs(found - known_hessian()).max() < 1e-8


def test_probes_of_a_harmonic_potential_are_half_the_quadratic_form():
    atoms = attached(rattled_ethanol(0), Harmonic())
    displacements = draw_probes(atoms, HessianSettings(probes=5, max_displacement=0.2))
    flat = displacements.reshape(5, -1)
    exact = 0.5 * np.einsum("ki,ij,kj->k", flat, known_hessian(), flat)
    # energies are of the size of 4000 eV
    assert np.abs(curvatures(atoms, displacements) - exact).max() < 1e-11


def test_force_changes_of_a_harmonic_potential_are_the_hessian_times_the_displacement():
    atoms = attached(rattled_ethanol(0), Harmonic())
    displacements = draw_probes(atoms, HessianSettings(probes=5, max_displacement=0.2))
    exact = -displacements.reshape(5, -1) @ known_hessian()
    changes = force_changes(atoms, displacements)
    assert changes.shape == displacements.shape
    assert np.abs(changes.reshape(5, -1) - exact).max() < 1e-11


def test_force_changes_of_a_pair_potential_deviate_by_the_second_order():
    atoms = attached(cluster(), lennard_jones())
    direction = draw_probes(atoms, HessianSettings(probes=4, max_displacement=0.005))
    exact = pair_hessian(atoms)

    def deviation(scale):
        linear = -scale * direction.reshape(4, -1) @ exact
        return np.abs(force_changes(atoms, scale * direction).reshape(4, -1) - linear).max()

    assert deviation(2) / deviation(1) == pytest.approx(4, rel=0.1)


def test_probes_of_a_pair_potential_deviate_by_the_fourth_order():
    atoms = attached(cluster(), lennard_jones())
    direction = draw_probes(atoms, HessianSettings(probes=4, max_displacement=0.01))
    exact = pair_hessian(atoms)

    def deviation(scale):
        flat = scale * direction.reshape(4, -1)
        return curvatures(atoms, scale * direction) - 0.5 * np.einsum(
            "ki,ij,kj->k", flat, exact, flat
        )

    assert deviation(4) / deviation(2) == pytest.approx(16, rel=0.05)


def test_probes_depend_on_positions_and_seed_alone():
    settings = HessianSettings(probes=6, max_displacement=0.05)
    one, other = rattled_crystal(seed=1), rattled_crystal(seed=2)
    probes = draw_probes(one, settings)
    assert probes.shape == (6, 4, 3)
    assert 0.045 < np.abs(probes).max() <= 0.05
    assert len(np.unique(probes)) == probes.size
    assert np.array_equal(draw_probes(one, settings), probes)
    assert np.array_equal(draw_probes(one, HessianSettings(probes=3)), probes[:3])
    assert not np.array_equal(draw_probes(other, settings), probes)
    assert not np.array_equal(draw_probes(one, HessianSettings(probes=6, seed=1)), probes)


def test_energies_and_forces_must_be_finite():
    atoms = attached(cluster(), lennard_jones())
    atoms.positions[1] = atoms.positions[0]
    with np.errstate(all="ignore"), pytest.raises(NotFiniteError):
        curvatures(atoms, np.zeros((1, 4, 3)))
