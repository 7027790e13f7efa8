"""Energies before the first step: what is off by a constant, and that looking changes nothing."""

from __future__ import annotations

import copy
import random
import warnings

import numpy as np
import pytest
import torch
from nequip.model import NequIPGNNModel

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.nequip import first_energies

from .conftest import MODELS
from .reference import as_data, evaluate
from .test_step import E_F, training


def ModelFromCheckpoint(**config):
    """A model whose config says that it has been trained."""
    return NequIPGNNModel(**config)


def fitted(offset, target=None, coeffs=E_F, options=None, **limits):
    """One step of a model whose energies are ``offset`` (eV per atom) from those of the labels."""
    model = copy.deepcopy(MODELS["nequip"])
    shifts = model["per_type_energy_shifts"]
    model["per_type_energy_shifts"] = {name: shift + offset for name, shift in shifts.items()}
    if target is not None:
        model["_target_"] = f"{__name__}.{target}"
    module, trainer, data = training(model, coeffs, options or {}, 2, max_steps=1, **limits)
    trainer.fit(module, datamodule=data)
    return module


@pytest.fixture
def gap(ethanol):
    """How far the model is from the labels, in eV per atom."""
    config = copy.deepcopy(MODELS["nequip"])
    config.pop("_target_")
    model = NequIPGNNModel(**config)
    zero = torch.zeros(9, 3)
    energies = [
        evaluate(model, as_data(atoms, ["C", "H", "O"]), zero, 3.0)[0].item() for atoms in ethanol
    ]
    labels = [atoms.info["REF_energy"] for atoms in ethanol]
    return float(np.mean(np.subtract(energies, labels)) / 9)


@pytest.mark.parametrize("options", [{}, {"pitc_weight": 0.0}])
def test_energies_of_another_scale_are_refused(options, gap):
    """Of every loss of ours, with the remedy for a trained model and for a new one."""
    with pytest.raises(SettingsError, match=r"lie 20\.\d* eV/atom .*per_type_energy_shifts"):
        fitted(20.1 - gap, options=options)
    with pytest.raises(SettingsError, match=r"lie 20\.\d* eV/atom .*modify_PerTypeScaleShift"):
        fitted(-20.1 - gap, "ModelFromCheckpoint", options=options)


@pytest.mark.parametrize(
    ("offset", "target", "warned"),
    [(0.3, "ModelFromCheckpoint", False), (0.7, "ModelFromCheckpoint", True), (5.0, None, False)],
)
def test_a_trained_model_is_warned_about(offset, target, warned, gap, caplog):
    """A new one is not: its shifts may be those of isolated atoms."""
    with caplog.at_level("WARNING"):
        fitted(offset - gap, target)
    words = f"energies lie {offset:.1f}"
    assert (words in caplog.text) == warned


@pytest.mark.parametrize(
    ("shifts", "n_oxygen", "said"),
    [
        (-800.0, (2, 3), True),
        (-800.0, (2, 4), False),
        ({"Ti": -1600.0, "O": -430.0}, (2, 3), False),
    ],
)
def test_one_shift_for_several_compositions_names_one_for_each_element(shifts, n_oxygen, said):
    """Ti2O4 is twice TiO2, Ti2O3 is not; the shifts named are those of exact energies."""
    frames = [
        {
            "atom_types": torch.tensor([0] * n + [1] * m),
            "total_energy": torch.tensor([[-1615.0 * n - 440.0 * m]], dtype=torch.float64),
        }
        for n, m in zip((1, 2), n_oxygen, strict=True)
    ]
    model = {"type_names": ["Ti", "O"], "per_type_energy_shifts": shifts}
    words = first_energies._of_several_compositions({"model": model}, frames)
    assert ("{Ti: -1615.000, O: -440.000}" in words) == said and bool(words) == said


def test_a_loss_without_energies_has_nothing_to_judge(ethanol):
    forces = {"name": "f", "field": "forces", "coeff": 1.0}
    forces["metric"] = {"_target_": "nequip.train.MeanSquaredError"}
    fitted(500.0, coeffs=None, options={"metrics": [forces], "pitc_weight": 0.0})


def test_looking_changes_nothing(ethanol):
    module, _, data = training(MODELS["nequip"], E_F, {}, 2)
    data.setup("fit")
    model = module.model["sole_model"]
    next(model.children()).eval()
    modes = [part.training for part in model.modules()]
    before = copy.deepcopy(model.state_dict())
    states = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())
    found = first_energies._first_energies(model, data.train_dataset[0])
    assert found.force_error is not None
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_looking_warns_of_nothing(ethanol):
    """PyTorch 2.13 warns, once, where a number is made of a tensor that requires a gradient."""
    module, _, data = training(MODELS["nequip"], E_F, {}, 2)
    data.setup("fit")
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Converting a tensor")
            first_energies._first_energies(module.model["sole_model"], data.train_dataset[0])
    finally:
        torch.set_warn_always(False)
