"""A training with PIWSL: hooks around the model's call, and the Lightning callback."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from nequip.data import AtomicDataDict

from ..disk import full_disk
from ..terms.host import plain
from ..terms.training import Moment, Training
from ..terms.validation import ValidationWatch
from .adversarial import check_adversarial
from .derivatives import check_derivatives
from .epoch_log import EpochLog, log_options, training_log
from .host import NequIPHost, SupervisedLoss
from .loading import described
from .ranks import all_or_none
from .restart import take_files_of_config, warn_of_another_loss

if TYPE_CHECKING:
    from .loss import PIWSLLoss


class TrainingCalls:
    """Hooks on a model that make each training call of it a step of a training.

    If neither the supervised loss nor a term needs forces, the call computes none, and its output
    has none. The hooks sit inside the training module, so that with several ranks all happens in
    one forward call.
    """

    def __init__(
        self,
        host: NequIPHost,
        training: Training,
        moment: Callable[[], Moment | None],
        base_uses_forces: bool,
        supervised: SupervisedLoss | None = None,
        supervised_uses_forces: bool = True,
    ) -> None:
        """
        Args:
            host: with NequIP's ``GraphModel`` or ``CompileGraphModel``.
            training: begins and ends the steps.
            moment: gives the moment, or None outside training.
            base_uses_forces: whether the training call must give forces for other reasons than the
                terms.
            supervised: the supervised loss, for displacements along its gradient.
            supervised_uses_forces: whether it reads forces.
        """
        self.host, self.moment = host, moment
        self._training, self._base_uses_forces = training, base_uses_forces
        self._supervised, self._supervised_uses_forces = supervised, supervised_uses_forces
        self._without_forces = contextlib.ExitStack()
        self._needs_forces: bool | None = None
        self._handles = [
            host.model.register_forward_pre_hook(self._before),
            host.model.register_forward_hook(self._after, always_call=True),
        ]

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()

    def _before(
        self, model: torch.nn.Module, args: tuple[AtomicDataDict.Type]
    ) -> tuple[AtomicDataDict.Type]:
        self._needs_forces = None
        now = self.moment() if model.training else None
        if now is None:
            return (plain(args[0]),)
        gradient = None
        if self._supervised is not None:
            forces = self._supervised_uses_forces
            gradient = partial(self.host.loss_gradient, args[0], self._supervised, forces)
        call = self._training.begin(self.host, args[0], now, self._base_uses_forces, gradient)
        self._needs_forces = call.forces
        if call.forces:
            return (call.inputs,)
        self._without_forces.enter_context(self.host.energies_alone())
        return (self.host.without_labels(call.inputs),)

    def _after(
        self,
        model: torch.nn.Module,
        args: tuple[AtomicDataDict.Type],
        output: AtomicDataDict.Type | None,
    ) -> AtomicDataDict.Type | None:
        needs_forces, self._needs_forces = self._needs_forces, None
        self._without_forces.close()
        # without output the model has raised an error
        if needs_forces is None or output is None:
            return None
        if needs_forces:
            self.host.check_forces(output, args[0])
        return self._training.end(output).in_output()


class PIWSLCallback(Callback):
    """Does nothing unless the training module's loss is a ``PIWSLLoss``.

    It is not in a config: ``_callback`` adds it to every trainer.
    """

    def __init__(self) -> None:
        self._calls: list[TrainingCalls] = []
        self._log: EpochLog | None = None
        self._loading = contextlib.ExitStack()

    def setup(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str
    ) -> None:
        """Check the data, and attach to the model, before anything is logged or written."""
        if stage != "fit" or self._is_one_too_many(trainer):
            return
        loss = _piwsl_loss(pl_module)
        if loss is None:
            warn_of_another_loss(getattr(pl_module, "loss", None))
            return
        with all_or_none():
            self._attach(trainer, pl_module, loss)

    def _attach(self, trainer: Any, pl_module: Any, loss: PIWSLLoss) -> None:
        from .data import check_datamodule, datasets_of, splits_read
        from .labels import Reads
        from .loss import uses_forces
        from .notices import say_that_stress_is_left_out
        from .preparation import prepare

        take_files_of_config(loss)
        if loss.is_on:
            check_adversarial(pl_module, loss)
        settings, datamodule = loss.settings, trainer.datamodule
        check_datamodule(settings, datamodule)
        datasets = datasets_of(datamodule, splits_read(pl_module, datamodule))
        models, seed, metrics = pl_module.model, settings.run.seed, pl_module.train_metrics
        say_that_stress_is_left_out(Reads.of("the loss", [loss]).every, datasets)
        seed = int(getattr(datamodule, "seed", 0)) if seed is None else seed
        labels, held_out, pool = prepare(trainer, pl_module, loss, datasets, seed)
        if not loss.is_on and held_out is None:
            log_options(loss)
            return
        # as nequip.model names what loads one, in a config of any nesting
        pretrained = "nequip.model.ModelFrom" in str(pl_module.hparams.get("model"))
        guarded = loss.is_on and settings.run.softening_guard != "off"
        training = Training(
            settings,
            labels,
            pool,
            seed=seed,
            weights=loss.weights,
            log=training_log(loss),
            watch=ValidationWatch(settings, guarded, held_out, pretrained),
        )
        check_derivatives(models, loss, training.terms)
        log_options(loss)
        levels = settings.nequip.levels
        self._log = EpochLog(training, levels, trainer.world_size, trainer.max_epochs)
        if not loss.is_on:
            return
        loss.begin(training)
        base_uses_forces = loss.base_uses_forces or (metrics is not None and uses_forces(metrics))
        self._calls = [
            TrainingCalls(
                NequIPHost(model, levels),
                training,
                lambda: _moment(trainer),
                base_uses_forces,
                loss.supervised_loss,
                loss.base_uses_forces,
            )
            for model in models.values()
        ]
        if len(self._calls) == 1 and datamodule is not None:  # neighbour lists are of one cutoff
            self._loading.enter_context(described(datamodule, self._calls[0].host, training))

    def _is_one_too_many(self, trainer: Any) -> bool:
        """Whether another of these precedes, as the entry point's does one that a user lists."""
        same = [one for one in trainer.callbacks if isinstance(one, PIWSLCallback)]
        return bool(same) and same[0] is not self

    def on_exception(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        exception: BaseException,
    ) -> None:
        """End in one line where a checkpoint could not be written because the disk is full.

        Raises:
            SystemExit: with this line.
        """
        checkpoints = trainer.checkpoint_callback
        folder = getattr(checkpoints, "dirpath", None) or trainer.default_root_dir
        writing = isinstance(exception, (OSError, RuntimeError))
        problem = full_disk(folder) if writing and _piwsl_loss(pl_module) is not None else None
        if problem is not None:
            raise SystemExit(problem if trainer.is_global_zero else 1) from exception

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Say which checkpoints count, and which will not."""
        if _piwsl_loss(pl_module) is not None and trainer.global_step == 0:
            from .notices import (
                say_which_checkpoints_count,
                warn_of_checkpoints_that_cannot_be_loaded,
            )

            say_which_checkpoints_count(trainer)
            warn_of_checkpoints_that_cannot_be_loaded(trainer, pl_module)

    def on_fit_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Look at the model's first energies, on its device."""
        loss = _piwsl_loss(pl_module)
        if loss is not None and not self._is_one_too_many(trainer):
            from .first_energies import check_first_energies

            check_first_energies(trainer, pl_module, loss)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: AtomicDataDict.Type,
        batch_idx: int,
    ) -> None:
        """Give the loss its coefficients back."""
        loss = _piwsl_loss(pl_module)
        if self._calls and loss is not None:
            loss.end_step()

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: AtomicDataDict.Type,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Watch the forces."""
        if self._log is not None and not trainer.sanity_checking:
            models: Any = pl_module.model  # with EMA's weights, if there are any
            self._log.add_validation(
                next(iter(models.values())), outputs[f"val_{dataloader_idx}_output"], batch
            )

    def on_validation_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Report, where NequIP does, and end a training that has diverged.

        Lightning writes checkpoints later, so that the last one is of a model that is not NaN.

        Raises:
            SystemExit: for weights that are NaN.
        """
        if _piwsl_loss(pl_module) is None or trainer.sanity_checking:
            return
        if self._log is not None:
            self._log.end_validation(trainer.current_epoch, pl_module)
        if any(parameter.isnan().any() for parameter in pl_module.model.parameters()):
            line = (
                f"epoch {trainer.current_epoch}: the weights are NaN: the training has diverged; "
                "go on from a checkpoint before (ckpt_path), or begin again, with a lower learning "
                "rate, or with gradient clipping (trainer.gradient_clip_val)"
            )
            raise SystemExit(line if trainer.is_global_zero else 1)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Report, where nothing is validated."""
        if self._log is not None and not trainer.enable_validation:
            self._log.end_epoch(trainer.current_epoch)

    def on_train_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Report what no validation has followed."""
        if self._log is not None:
            self._log.end(trainer.current_epoch - 1)

    def teardown(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str
    ) -> None:
        """Take everything off the model and the loss."""
        for calls in self._calls:
            calls.remove()
        loss = _piwsl_loss(pl_module)
        if self._calls and loss is not None:
            loss.end()
        self._calls, self._log = [], None
        self._loading.close()


def _moment(trainer: lightning.Trainer) -> Moment | None:
    """Where Lightning's trainer stands; None where it is not training."""
    if not trainer.training:
        return None
    batch = trainer.fit_loop.epoch_loop.total_batch_idx
    return Moment(trainer.current_epoch, trainer.global_step, batch)


def _piwsl_loss(pl_module: Any) -> PIWSLLoss | None:
    """The module's loss if it is ours; its class is not even imported for other losses."""
    module = sys.modules.get("piwsl_plugins.nequip.loss")
    loss = getattr(pl_module, "loss", None)
    return loss if module is not None and isinstance(loss, module.PIWSLLoss) else None
