"""What cannot be trained together with some options."""

from __future__ import annotations

from typing import Any

import torch
from nequip.train import ConFIGLightningModule
from nequip.train.callbacks import (
    LinearLossCoefficientScheduler,
    LossCoefficientScheduler,
    SoftAdapt,
)

from ..core.settings import AUTO, Settings, SettingsError

_SCHEDULERS = (LossCoefficientScheduler, LinearLossCoefficientScheduler, SoftAdapt)


def check_companions(settings: Settings, trainer: Any, module: Any) -> None:
    """Stop before training if ``pitc_weight: auto`` cannot work beside the rest of the config.

    Args:
        settings: the options.
        trainer: Lightning's trainer.
        module: NequIP's Lightning module.

    Raises:
        SettingsError: naming ``pitc_weight``.
    """
    if settings.pitc_weight != AUTO:
        return
    if isinstance(module, ConFIGLightningModule):
        raise SettingsError(
            "pitc_weight",
            AUTO,
            f"{type(module).__name__} balances the gradients of the terms itself; give a number, "
            "or use EMALightningModule",
        )
    for callback in trainer.callbacks:
        if isinstance(callback, _SCHEDULERS):
            raise SettingsError(
                "pitc_weight",
                AUTO,
                f"the callback {type(callback).__name__} sets the same coefficient; give a "
                "number, or remove the callback",
            )
    if any(getattr(model, "is_compile_graph_model", False) for model in module.model.values()):
        _keep_buffers()


def _keep_buffers() -> None:
    """Let compiled graphs be differentiated twice, as ConFIG of NequIP 0.19 does.

    See ``nequip/train/config.py``; PyTorch otherwise gives memory away in the first backward pass.
    """
    torch._functorch.config.donated_buffer = False
