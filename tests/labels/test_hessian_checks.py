"""Hessians that are not those of their structures: order of atoms, axes, units."""

import dataclasses

import ase.build
import numpy as np
import pytest
from ase.calculators.emt import EMT

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.labels.hessian_checks import (
    rigid_problem_of,
    rotational_residue,
    translational_residue,
    unreciprocated,
)
from piwsl_plugins.labels.hessian_labels import HessianLabel, read_labels, write_labels
from piwsl_plugins.labels.hessian_matching import matched_labels
from piwsl_plugins.options.settings import Hessian
from piwsl_plugins.testing.hessians import springs
from piwsl_plugins.tools.hessian.differences import hessian

from ..bundled import DATA, bundled

REAL = [one for one in read_labels(DATA / "ethanol_gfn2_hessian.npz") if one.hessian is not None]


def reordered(label: HessianLabel, order: np.ndarray) -> HessianLabel:
    """With the components of the Hessian alone in another order."""
    return dataclasses.replace(label, hessian=label.hessian[np.ix_(order, order)])


def exchanged(label: HessianLabel, i: int, j: int) -> HessianLabel:
    order = np.arange(len(label.hessian)).reshape(-1, 3)
    order[[i, j]] = order[[j, i]]
    return reordered(label, order.ravel())


def test_far_from_a_stationary_point_turning_is_explained_by_some_forces():
    atoms = ase.build.molecule("CH3CH2OH")
    atoms.rattle(0.15, seed=1)
    atoms.positions += [3.0, -8.0, 20.0]
    atoms.calc = EMT()
    assert np.abs(atoms.get_forces()).max() > 5.0
    matrix = hessian(atoms, 1e-4)[0]
    label = HessianLabel(atoms.numbers, atoms.positions, hessian=matrix)
    scale = np.abs(label.hessian).max()
    assert rotational_residue(label) < 1e-5 * scale
    assert translational_residue(label) < 1e-5 * scale
    assert rigid_problem_of(label) is None


def test_any_two_like_atoms_exchanged_are_noticed():
    for label in REAL[:5]:
        assert rigid_problem_of(label) is None
        for i in range(9):
            for j in range(i):
                if label.numbers[i] == label.numbers[j]:
                    assert "turning the molecule" in rigid_problem_of(exchanged(label, i, j))


def test_other_axes_and_another_order_of_components():
    label = REAL[0]
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turn = np.kron(np.eye(9), rotation)
    turned = dataclasses.replace(label, hessian=turn @ label.hessian @ turn.T)
    assert "turning the molecule" in rigid_problem_of(turned)
    by_axis = reordered(label, np.arange(27).reshape(9, 3).T.ravel())
    assert "moving all atoms together" in rigid_problem_of(by_axis)


def test_what_moving_and_turning_do_not_tell():
    """Cells, parts of the atoms, and probes; noise below the limit."""
    crystal = bundled("periodic_gfn2_train", 0)
    label = dataclasses.replace(springs(crystal), pbc=crystal.pbc, cell=crystal.cell.array)
    assert rotational_residue(label) is None and rigid_problem_of(label) is None
    block = dataclasses.replace(REAL[0], hessian=REAL[0].hessian[:6, :6], atoms=np.arange(2))
    assert translational_residue(block) is None and rigid_problem_of(block) is None
    probes = np.ones((1, 9, 3))
    field = {"displacements": probes, "force_changes": probes, "hessian": None}
    assert rigid_problem_of(dataclasses.replace(REAL[0], **field)) is None
    noise = np.zeros((27, 27))
    noise[4, 7] = noise[7, 4] = 0.5 * Hessian.hessian_tolerance * np.abs(REAL[0].hessian).max()
    assert rigid_problem_of(dataclasses.replace(REAL[0], hessian=REAL[0].hessian + noise)) is None


def test_units_are_judged_by_most_labels_of_a_file(tmp_path):
    path, structures = tmp_path / "labels.npz", [bundled("ethanol_gfn2_train", n) for n in range(9)]
    atomic = [dataclasses.replace(one, hessian=one.hessian / 97.1736) for one in REAL[:9]]
    geometries = []
    for n_wrong, refused in ((4, False), (5, True)):
        write_labels(path, [*atomic[:n_wrong], *REAL[n_wrong:9]], "a test")
        options = Hessian(hessian_file=str(path))
        if refused:
            with pytest.raises(SettingsError, match=r"label 0 .*hartree/bohr², multiply it by 97"):
                matched_labels(options, "hessian_file", geometries)
        else:
            assert len(matched_labels(options, "hessian_file", geometries)[0]) == len(structures)


@pytest.mark.parametrize(("at_rest", "low", "high"), [(0.0, 0.0, 1e-12), (1.0, 0.5, 3.0)])
def test_probes_of_one_hessian_are_reciprocal(at_rest, low, high):
    """Whatever the displacements; forces at rest that are left in are not."""
    random = np.random.default_rng(0)
    root = random.normal(size=(12, 12))
    displacements = 0.01 * random.normal(size=(5, 4, 3))
    changes = -(displacements.reshape(5, 12) @ (root @ root.T)).reshape(5, 4, 3)
    changes += at_rest * random.normal(size=(4, 3))
    label = HessianLabel(
        np.ones(4, int), np.zeros((4, 3)), displacements=displacements, force_changes=changes
    )
    assert low <= unreciprocated(label) <= high
