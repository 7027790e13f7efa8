"""The Lightning callback that attaches displaced evaluation, and reports on it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from ..core.schedule import weight_factor

if TYPE_CHECKING:
    from .evaluation import DisplacedEvaluation
    from .loss import PIWSLLoss


class PIWSLCallback(Callback):
    """Does nothing unless the training module's loss is a ``PIWSLLoss`` with a weight above 0.

    It is not in a config: ``_callback`` adds it to every trainer.
    """

    def __init__(self) -> None:
        self._evaluations: list[DisplacedEvaluation] = []

    def on_fit_start(  # noqa: D102
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        self._detach()
        loss = _piwsl_loss(pl_module)
        if loss is None:
            return
        from .evaluation import DisplacedEvaluation
        from .labels import check_labels
        from .report import Report

        check_labels(loss.settings, trainer)
        seed = _seed(loss, trainer)
        self._report = Report(loss, seed, trainer.world_size > 1)
        if not loss.is_on:
            return

        def schedule() -> tuple[int, float] | None:
            if not trainer.training:
                return None
            epoch = trainer.current_epoch
            return epoch, weight_factor(loss.settings, epoch, trainer.global_step)

        self._evaluations = [
            DisplacedEvaluation(model, loss, seed, schedule) for model in pl_module.model.values()
        ]
        loss.observers.append(self._report.add_step)

    def on_train_batch_end(  # noqa: D102
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: dict[str, torch.Tensor],
        batch_idx: int,
    ) -> None:
        if self._evaluations:
            _piwsl_loss(pl_module).end_step()

    def on_train_epoch_end(  # noqa: D102
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        if self._evaluations:
            self._report.end_epoch(trainer.current_epoch)

    def teardown(  # noqa: D102
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str
    ) -> None:
        self._detach()

    def _detach(self) -> None:
        for evaluation in self._evaluations:
            evaluation.remove()
            evaluation.loss.factor = None
            evaluation.loss.observers.clear()
        self._evaluations = []


def _piwsl_loss(pl_module: Any) -> PIWSLLoss | None:
    """The module's loss if it is ours; its class is not even imported for other losses."""
    module = sys.modules.get("piwsl_plugins.nequip.loss")
    loss = getattr(pl_module, "loss", None)
    return loss if module is not None and isinstance(loss, module.PIWSLLoss) else None


def _seed(loss: PIWSLLoss, trainer: lightning.Trainer) -> int:
    if loss.settings.seed is not None:
        return loss.settings.seed
    return int(getattr(trainer.datamodule, "seed", 0))
