"""NequIP models through the stock calculator."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("nequip", reason="needs the nequip extra")

pytestmark = pytest.mark.framework


@pytest.mark.slow
def test_stress_is_the_derivative_of_the_energy_by_strain(tmp_path, strained):
    from nequip.integrations.ase import NequIPCalculator

    from ...nequip.command_line import config, train

    made = config(loss={"_target_": "nequip.train.EnergyForceLoss"})
    # in single precision the differences depend on what ran before
    precision = "training_module.model.model_dtype=float64"
    train(tmp_path, made, "run=[train]", "trainer.max_epochs=1", precision)
    path = tmp_path / "out" / "last.ckpt"
    strained(NequIPCalculator._from_saved_model(str(path)), path)
