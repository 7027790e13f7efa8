"""Lightning's trainer as a program may call it: without a datamodule, with a callback too many."""

from __future__ import annotations

import pytest
import torch

from piwsl_plugins.core.options import SettingsError
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


def test_a_second_callback_does_nothing(ethanol):
    def with_two(trainer, module, data):
        trainer.callbacks.append(PIWSLCallback())
        with_datamodule(trainer, module, data)

    options = {"pitc_weight": 10.0, "pisc_weight": 1.0}
    found = [trained(options, fit) for fit in (with_datamodule, with_two)]
    assert torch.equal(*found)
