"""Files of MACE and NequIP as the calculator, against the frameworks' own calculators."""

from importlib.util import find_spec

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from .conftest import rattled_ethanol

pytestmark = pytest.mark.framework

mace_only = pytest.mark.skipif(find_spec("mace") is None, reason="needs the mace extra")
nequip_only = pytest.mark.skipif(find_spec("nequip") is None, reason="needs the nequip extra")


@mace_only
def test_a_mace_file_gives_its_analytic_hessian(labelled, tmp_path):
    from mace.calculators import MACECalculator

    from ..mace_files import tiny_model

    write(tmp_path / "train.xyz", rattled_ethanol(0), format="extxyz")
    path = tiny_model(tmp_path / "tiny.model")
    labels, _ = labelled(tmp_path / "train.xyz", "--calculator", path, "--step", 0.001)
    calculator = MACECalculator(model_paths=[str(path)], device="cpu", default_dtype="float64")
    exact = calculator.get_hessian(rattled_ethanol(0)).reshape(27, 27)
    assert np.abs(exact).max() > 0.01
    assert np.abs(labels[0].hessian - exact).max() < 1e-4 * np.abs(exact).max()


@mace_only
def test_an_element_that_the_model_does_not_know(refused, tmp_path):
    from ..mace_files import tiny_model

    write(tmp_path / "train.xyz", Atoms("N2", [[0, 0, 0], [0, 0, 1.1]]), format="extxyz")
    path = tiny_model(tmp_path / "tiny.model")
    error = refused(tmp_path / "train.xyz", "--calculator", path)
    assert "not trained on the element(s) N" in error


@pytest.mark.slow
@nequip_only
def test_a_nequip_checkpoint(labelled, tmp_path):
    from nequip.integrations.ase import NequIPCalculator

    from ...nequip.command_line import config, train

    made = config(loss={"_target_": "nequip.train.EnergyForceLoss"})
    train(tmp_path, made, "run=[train]", "trainer.max_epochs=1")
    write(tmp_path / "train.traj", rattled_ethanol(0))
    path = tmp_path / "out" / "last.ckpt"
    options = (tmp_path / "train.traj", "--calculator", path, "--probes", 3)
    options += ("--max_displacement", 0.2)
    (by_energies,), _ = labelled(*options, "--energies", out="energies.npz")
    (by_forces,), _ = labelled(*options, "--max_hessian_atoms", 0)
    calculator = NequIPCalculator._from_saved_model(str(path))

    def displaced(displacement):
        atoms = rattled_ethanol(0)
        atoms.positions += displacement
        atoms.calc = calculator
        return atoms.get_potential_energy(), atoms.get_forces()

    energy, forces = displaced(0)
    assert np.array_equal(by_energies.displacements, by_forces.displacements)
    for number, delta in enumerate(by_forces.displacements):
        (ahead, forces_ahead), (behind, _) = displaced(delta), displaced(-delta)
        expected = 0.5 * (ahead + behind) - energy
        assert abs(expected) > 1e-6
        assert by_energies.curvatures[number] == pytest.approx(expected, abs=1e-9)
        assert np.allclose(by_forces.force_changes[number], forces_ahead - forces, atol=1e-9)
