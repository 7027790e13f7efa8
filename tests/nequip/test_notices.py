"""What the log says before training of what NequIP and Lightning do, and refusals of models."""

from __future__ import annotations

import contextlib

import ase.io
import numpy as np
import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from lightning.pytorch.callbacks import ModelCheckpoint
from nequip.train import EMALightningModule

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.labels.hessian_labels import write_labels
from piwsl_plugins.nequip import PIWSLLoss
from piwsl_plugins.testing.hessians import springs

from . import test_step
from .conftest import MODELS
from .test_step import E_F, training

E = {"total_energy": 1.0}
WITHOUT = {**MODELS["nequip"], "do_derivatives": False}


def said(caplog):
    return [one.getMessage() for one in caplog.records if "PIWSL: " in one.getMessage()]


def labels(frames, path="labels.npz"):
    write_labels(path, list(map(springs, frames)), "springs")
    return path


#: coefficients and options that need forces, and words of the remedy
NEED_FORCES = {
    "forces": (E_F, {"pitc_weight": 0.0, "hessian_file": "labels.npz"}, "hessian_form: energies"),
    "Hessians": (E, {"hessian_file": "labels.npz"}, "hessian_form: energies"),
    "held-out Hessians": (E, {"hessian_valid_file": "labels.npz"}, "or leave the file out"),
    "PITC": (E, {"consistency_form": "first_order"}, "consistency_form: symmetric"),
    "PISC": (E, {"pitc_weight": 0.0, "pisc_weight": 1.0}, "do_derivatives: true"),
    "the base loss": (E_F, {"consistency_form": "symmetric"}, "all but total_energy"),
}


@pytest.mark.parametrize("case", NEED_FORCES)
def test_a_model_without_forces_is_refused_where_they_are_needed(case, ethanol):
    coeffs, options, remedy = NEED_FORCES[case]
    labels(ethanol)
    module, trainer, data = training(WITHOUT, coeffs, options, 2, max_steps=1)
    with pytest.raises(SettingsError, match=r"do_derivatives: false") as caught:
        trainer.fit(module, datamodule=data)
    assert remedy in str(caught.value)


def test_a_model_without_forces_trains_on_energies(ethanol):
    """PITC and Hessians in their forms of energies; validation has no forces to watch."""
    options = {"pitc_weight": 1.0, "hessian_file": labels(ethanol), "hessian_form": "energies"}
    module, trainer, data = training(WITHOUT, E, options, 2, max_steps=1, limit_val_batches=1)
    before = [parameter.detach().clone() for parameter in module.parameters()]
    trainer.fit(module, datamodule=data)
    assert not all(map(torch.equal, before, module.parameters()))


@pytest.mark.parametrize(
    ("stress", "coeffs", "told"),
    [(True, E_F, True), (True, {**E_F, "stress": 1.0}, False), (False, E_F, False)],
)
def test_stress_that_is_left_out(stress, coeffs, told, ethanol, caplog):
    for atoms in ethanol:
        atoms.cell, atoms.pbc = [9.0, 9.0, 9.0], True
        if stress:
            atoms.calc = SinglePointCalculator(atoms, stress=np.arange(6.0))
    ase.io.write("train.xyz", ethanol)
    module, trainer, data = training(MODELS["nequip"], coeffs, {}, 2, max_steps=1)
    with caplog.at_level("INFO"):
        trainer.fit(module, datamodule=data)
    assert any("stress labels, and the loss leaves them out" in one for one in said(caplog)) == told


def test_checkpoints_of_an_earlier_run(ethanol, tmp_path, caplog):
    """What the line says of numbers is what Lightning does."""
    for number in range(4):
        caplog.clear()
        begin = str(tmp_path / "out/last.ckpt") if number == 3 else None  # a restart
        max_steps = 1 if begin is None else 2
        module, trainer, data = training(MODELS["nequip"], E_F, {}, 2, max_steps=max_steps)
        checkpoints = ModelCheckpoint(tmp_path / "out", filename="best", save_last=True)
        trainer.callbacks.append(checkpoints)
        trainer.fit(module, datamodule=data, ckpt_path=begin, weights_only=False)
        lines = [one for one in said(caplog) if "checkpoints of an earlier run" in one]
        assert len(lines) == (number in (1, 2))
        if begin is not None:
            break
        made = checkpoints.best_model_path.rpartition("/")[2]
        assert made == (f"best-v{number}.ckpt" if number else "best.ckpt")
        if number:
            assert f"({made})" in lines[0]


@pytest.mark.parametrize(
    ("limits", "warned"),
    [
        ({"check_val_every_n_epoch": 2}, True),
        ({"val_check_interval": 0.5}, True),
        ({}, False),
    ],
)
def test_checkpoints_that_nequip_does_not_load(
    limits, warned, ethanol, tmp_path, caplog, monkeypatch
):
    """The warning is right: those of averages that are saved during validation."""
    monkeypatch.setattr(test_step, "NequIPLightningModule", EMALightningModule)
    limits |= {"max_epochs": 2, "limit_val_batches": 1}
    module, trainer, data = training(MODELS["nequip"], E_F, {}, 2, learning_rate=1e-6, **limits)
    checkpoints = ModelCheckpoint(tmp_path)
    trainer.callbacks.append(checkpoints)
    trainer.fit(module, datamodule=data)
    lines = [one for one in said(caplog) if "no checkpoint of this run can be loaded" in one]
    assert len(lines) == warned
    expected = pytest.raises(AssertionError, match="EMA") if warned else contextlib.nullcontext()
    with expected:
        EMALightningModule.load_from_checkpoint(checkpoints.best_model_path, weights_only=False)


def test_terms_that_a_schedule_leaves_out(caplog):
    loss = PIWSLLoss(pitc_weight=1.0, pisc_weight=1.0)
    loss.set_coeffs({"per_atom_energy_mse": 1.0, "forces_mse": 1.0, "pitc": 1.0, "pisc": 0.0})
    assert not said(caplog)
    for _ in range(2):  # said once
        loss.set_coeffs({"per_atom_energy_mse": 1.0, "forces_mse": 3.0})
        (line,) = said(caplog)
    assert "leaves out pitc:" in line and "per_atom_energy_mse, forces_mse" in line
