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
    from .softening import ForceWatch


class PIWSLCallback(Callback):
    """Does nothing unless the training module's loss is a ``PIWSLLoss`` with a weight above 0.

    It is not in a config: ``_callback`` adds it to every trainer.
    """

    def __init__(self) -> None:
        self._evaluations: list[DisplacedEvaluation] = []
        self._watch: ForceWatch | None = None

    def on_fit_start(  # noqa: D102
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        self._detach()
        loss = _piwsl_loss(pl_module)
        if loss is None:
            return
        from .checks import check_companions
        from .curvature import frame_labels
        from .evaluation import DisplacedEvaluation, Moment
        from .labels import check_labels
        from .loss import uses_forces
        from .pool import Pool
        from .reference import frozen_models
        from .report import Report
        from .softening import ForceWatch

        settings, models = loss.settings, pl_module.model
        seed = _seed(loss, trainer)
        if not loss.is_on:
            Report(loss, seed, trainer.world_size > 1)
            return
        check_companions(settings, trainer, pl_module)
        check_labels(settings, trainer)
        type_names = list(next(iter(models.values())).type_names)
        pool = None
        if settings.unlabeled_file is not None:
            pool = Pool(settings, type_names, seed, trainer.global_rank, trainer.world_size)
        labels = frame_labels(settings, type_names, trainer, [] if pool is None else pool.frames)
        references = frozen_models(settings, pl_module)
        self._report = Report(loss, seed, trainer.world_size > 1)
        if settings.softening_guard != "off":
            self._watch = ForceWatch(loss.guard, trainer.world_size)

        def schedule() -> Moment | None:
            if not trainer.training:
                return None
            epoch, step = trainer.current_epoch, trainer.global_step
            factor = loss.guard.factor * weight_factor(settings, epoch, step)
            return Moment(epoch, factor, step, trainer.fit_loop.epoch_loop.total_batch_idx)

        metrics = pl_module.train_metrics
        self._evaluations = [
            DisplacedEvaluation(
                model,
                loss,
                seed,
                schedule,
                labels=labels,
                reference=references.get(name),
                pool=pool,
                metrics_use_forces=metrics is not None and uses_forces(metrics),
            )
            for name, model in models.items()
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

    def on_validation_batch_end(  # noqa: D102
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: dict[str, torch.Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._watch is not None and not trainer.sanity_checking:
            self._watch.add(outputs[f"val_{dataloader_idx}_output"], batch)

    def on_validation_epoch_end(  # noqa: D102
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        if self._watch is not None and not trainer.sanity_checking:
            self._watch.end(trainer, pl_module)

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
        self._watch = None


def _piwsl_loss(pl_module: Any) -> PIWSLLoss | None:
    """The module's loss if it is ours; its class is not even imported for other losses."""
    module = sys.modules.get("piwsl_plugins.nequip.loss")
    loss = getattr(pl_module, "loss", None)
    return loss if module is not None and isinstance(loss, module.PIWSLLoss) else None


def _seed(loss: PIWSLLoss, trainer: lightning.Trainer) -> int:
    if loss.settings.seed is not None:
        return loss.settings.seed
    return int(getattr(trainer.datamodule, "seed", 0))
