"""Lightning's trainer as a program may call it: without a datamodule, with a callback too many."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from nequip.train import NequIPLightningModule

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.nequip.training import PIWSLCallback

from .conftest import MODELS
from .test_step import E_F, training


def trained(options, fit, **keywords):
    """Parameters after a step, in one row."""
    module, trainer, data = training(MODELS["nequip"], E_F, options, 2, max_steps=1, **keywords)
    fit(trainer, module, data)
    assert not any(model._forward_hooks for model in module.model.values())
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def with_datamodule(trainer, module, data):
    trainer.fit(module, datamodule=data)


def with_loaders(trainer, module, data):
    data.setup("fit")
    trainer.fit(module, data.train_dataloader(), data.val_dataloader())


def test_loaders_do_in_place_of_a_datamodule(ethanol):
    options = {"pitc_weight": 10.0, "pisc_weight": 1.0}
    found = [trained(options, fit) for fit in (with_datamodule, with_loaders)]
    assert torch.equal(*found)


@pytest.mark.parametrize("option", ["hessian_file", "hessian_valid_file", "pool_file"])
def test_files_need_a_datamodule(option, ethanol):
    with pytest.raises(SettingsError, match=r"datamodule=…") as caught:
        trained({option: "train.xyz"}, with_loaders)
    assert caught.value.name == option


class OwnLabels(NequIPLightningModule):
    """A training module whose labels are not those of the batch."""

    def process_target(self, batch, *arguments):
        return batch.copy()


@pytest.mark.parametrize("reason", ["process_target", "another optimizer"])
def test_where_the_gradient_of_the_loss_is_not_that_of_the_call(reason, ethanol):
    def fit(trainer, module, data):
        if reason == "process_target":
            module.__class__ = OwnLabels
        else:
            module.optimizer_config = {"_target_": "torch.optim.LBFGS"}
        with_datamodule(trainer, module, data)

    with pytest.raises(SettingsError, match=reason) as caught:
        trained({"displacement": "adversarial"}, fit)
    assert caught.value.name == "displacement" and "choose atom_norm" in str(caught.value)


def test_a_second_callback_does_nothing(ethanol):
    def with_two(trainer, module, data):
        trainer.callbacks.append(PIWSLCallback())
        with_datamodule(trainer, module, data)

    options = {"pitc_weight": 10.0, "pisc_weight": 1.0}
    found = [trained(options, fit) for fit in (with_datamodule, with_two)]
    assert torch.equal(*found)


class Raise(Callback):
    """A schedule that lets PITC dominate from the fourth epoch on."""

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 3:
            module.loss.set_coeffs({"per_atom_energy_mse": 1.0, "forces_mse": 1.0, "pitc": 1e5})


@pytest.mark.parametrize(
    ("limits", "epochs"),
    [
        ({}, range(0, 40, 2)),
        ({"check_val_every_n_epoch": 2}, range(1, 40, 2)),
        ({"check_val_every_n_epoch": 5}, range(4, 40, 5)),
        ({"val_check_interval": 1, "max_epochs": 20}, [n // 2 for n in range(40)]),
        ({"limit_val_batches": 0}, range(0, 40, 2)),
    ],
)
def test_lines_of_the_log(limits, epochs, ethanol, caplog):
    """About twenty, whenever it is that a validation comes, and the warning with the next."""
    limits = {"max_epochs": 40, "limit_val_batches": 1, **limits}
    batch_size = 1 if "val_check_interval" in limits else 2
    module, trainer, data = training(
        MODELS["nequip"], E_F, {}, batch_size, learning_rate=1e-12, **limits
    )
    trainer.callbacks.append(Raise())
    with caplog.at_level("INFO"):
        trainer.fit(module, datamodule=data)
    lines = [record.getMessage().partition("PIWSL: ")[2] for record in caplog.records]
    lines = [line for line in lines if line.startswith("epoch ") or "can flatten" in line]
    (warned,) = (number for number, line in enumerate(lines) if "can flatten" in line)
    del lines[warned]
    found = [int(line.split()[1][:-1]) for line in lines]
    assert found[: len(epochs)] == [*epochs] and set(found[len(epochs) :]) <= {39}
    assert warned - 1 == next(number for number, epoch in enumerate(found) if epoch >= 3)
    validated = bool(limits["limit_val_batches"])
    assert ("on validation data: force slope" in lines[0]) == validated
