"""A training with PIWSL: hooks around the model's call, and the Lightning callback."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from nequip.data import AtomicDataDict

from ..disk import full_disk
from ..terms.host import plain
from ..terms.loading import Describing, describing
from ..terms.pool import Pool
from ..terms.schedule import weight_factor
from ..terms.step import Step
from ..terms.term_table import terms_of
from ..terms.terms import Term
from .derivatives import check_derivatives
from .host import NequIPHost
from .ranks import all_or_none
from .report import Report
from .restart import take_files_of_config, warn_of_another_loss
from .structures import POOL_LABELS

if TYPE_CHECKING:
    from .loss import PIWSLLoss


class Moment(NamedTuple):
    """Where training stands.

    Attributes:
        epoch: from 0.
        factor: of the PIWSL weights.
        batch: number of the batch since the start of training, from 0.
    """

    epoch: int
    factor: float
    batch: int = 0


class TrainingCalls:
    """Hooks on a model that let :class:`piwsl_plugins.terms.step.Step` act around training's calls.

    If neither the supervised loss nor a term needs forces, the call computes none, and its output
    has none. The hooks sit inside the training module, so that with several ranks all happens in
    one forward call.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: PIWSLLoss,
        terms: Sequence[Term],
        seed: int,
        moment: Callable[[], Moment | None],
        pool: Pool | None = None,
        metrics_use_forces: bool = False,
        join: bool | None = None,
    ) -> None:
        """
        Args:
            model: NequIP's ``GraphModel`` or ``CompileGraphModel``.
            loss: gives the weights; told the factor before each call.
            terms: with a weight, those of ``loss.settings``.
            seed: of the displacements.
            moment: gives the moment, or None outside training.
            pool: structures beside the training set.
            metrics_use_forces: whether the training call must give forces for other reasons than
                the loss.
            join: see :class:`piwsl_plugins.terms.step.Step`.
        """
        self.host = NequIPHost(model, loss.settings.nequip.levels)
        self.loss, self.terms, self.seed, self.pool = loss, terms, seed, pool
        self.moment, self.join = moment, join
        self._base_uses_forces = loss.base_uses_forces or metrics_use_forces
        self._without_forces = contextlib.ExitStack()
        self._step: Step | None = None
        self._pooled: AtomicDataDict.Type | None = None
        self._handles = [
            model.register_forward_pre_hook(self._before),
            model.register_forward_hook(self._after, always_call=True),
        ]

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()

    def _before(
        self, model: torch.nn.Module, args: tuple[AtomicDataDict.Type]
    ) -> tuple[AtomicDataDict.Type]:
        self._step = self._pooled = None
        now = self.moment() if model.training else None
        if now is None:
            return (plain(args[0]),)
        batch = args[0]
        self.loss.factor = now.factor
        weights = self.loss.weights() if now.factor else {}
        terms = [term for term in self.terms if term.name in weights]
        if self.pool is not None:
            # also in steps that do without it, so that the loader's workers go on
            pooled = self.pool.batch(now.batch)
            if terms or self.loss.pool_coeff:
                device = batch[AtomicDataDict.POSITIONS_KEY].device
                self._pooled = AtomicDataDict.to_(dict(pooled), device)
        self._step = Step(
            self.host,
            terms,
            batch,
            self._pooled,
            self.seed,
            now.epoch,
            self._base_uses_forces,
            self.join,
        )
        if self._step.forces:
            return (plain(self._step.inputs),)
        self._without_forces.enter_context(self.host.energies_alone())
        return (self.host.without_labels(self._step.inputs),)

    def _after(
        self,
        model: torch.nn.Module,
        args: tuple[AtomicDataDict.Type],
        output: AtomicDataDict.Type | None,
    ) -> AtomicDataDict.Type | None:
        step, self._step = self._step, None
        self._without_forces.close()
        if step is None or output is None:  # without output the model has raised an error
            return None
        if step.forces:
            self.host.check_forces(output, args[0])
        result = step.finish(output)
        if self._pooled is not None:
            result[POOL_LABELS] = self._pooled
        return result


class PIWSLCallback(Callback):
    """Does nothing unless the training module's loss is a ``PIWSLLoss``.

    It is not in a config: ``_callback`` adds it to every trainer.
    """

    def __init__(self) -> None:
        self._calls: list[TrainingCalls] = []
        self._report: Report | None = None
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

    def _attach(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, loss: PIWSLLoss
    ) -> None:
        from .data import check_datamodule, datasets_of, splits_read
        from .loss import labels_of, uses_forces
        from .notices import say_that_stress_is_left_out
        from .preparation import prepare

        take_files_of_config(loss)
        settings, datamodule = loss.settings, trainer.datamodule
        check_datamodule(settings, datamodule)
        datasets = datasets_of(datamodule, splits_read(pl_module, datamodule))
        models, seed, metrics = pl_module.model, settings.run.seed, pl_module.train_metrics
        say_that_stress_is_left_out(labels_of([loss]), datasets)
        seed = int(getattr(datamodule, "seed", 0)) if seed is None else seed
        labels, held_out, pool = prepare(trainer, pl_module, loss, datasets, seed)
        if not loss.is_on:
            if held_out is not None:
                check_derivatives(models, loss, [])
            report = Report(loss, [], trainer.world_size, trainer.max_epochs, held_out)
            self._report = None if held_out is None else report
            return
        terms = terms_of(settings, labels)
        check_derivatives(models, loss, terms)
        # as nequip.model names what loads one, in a config of any nesting
        pretrained = "nequip.model.ModelFrom" in str(pl_module.hparams.get("model"))
        self._report = Report(
            loss, terms, trainer.world_size, trainer.max_epochs, held_out, pretrained
        )

        def moment() -> Moment | None:
            if not trainer.training:
                return None
            factor = weight_factor(settings.schedule, trainer.current_epoch, trainer.global_step)
            batch = trainer.fit_loop.epoch_loop.total_batch_idx
            return Moment(trainer.current_epoch, factor, batch)

        others = metrics is not None and uses_forces(metrics)
        self._calls = [
            TrainingCalls(model, loss, terms, seed, moment, pool, others)
            for model in models.values()
        ]
        loss.observe = self._report.add_step
        if len(self._calls) == 1 and datamodule is not None:  # neighbour lists are of one cutoff
            self._describe(datamodule, self._calls[0])

    def _is_one_too_many(self, trainer: lightning.Trainer) -> bool:
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

    def _describe(self, datamodule: Any, calls: TrainingCalls) -> None:
        """Let the loaders of training data and pool say what the core needs to know."""
        make, host = datamodule.train_dataloader, calls.host
        arguments = (host.description, host.lists, calls.terms)

        def train_dataloader() -> Any:
            loader = make()
            if not isinstance(loader.collate_fn, Describing):
                self._loading.enter_context(describing([loader], *arguments))
            return loader

        datamodule.train_dataloader = train_dataloader
        self._loading.callback(delattr, datamodule, "train_dataloader")
        if calls.pool is not None:
            self._loading.enter_context(describing([calls.pool], *arguments))

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Say which checkpoints count, if there are some that this run did not begin from."""
        if _piwsl_loss(pl_module) is not None and trainer.global_step == 0:
            from .notices import say_which_checkpoints_count

            say_which_checkpoints_count(trainer)

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
        if self._calls:
            pl_module.loss.end_step()

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
        if self._report is not None and not trainer.sanity_checking:
            model = next(iter(pl_module.model.values()))  # with EMA's weights, if there are any
            self._report.add_validation(model, outputs[f"val_{dataloader_idx}_output"], batch)

    def on_validation_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Report, where NequIP does."""
        if self._report is not None and not trainer.sanity_checking:
            self._report.end_validation(trainer.current_epoch, pl_module)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Report, where nothing is validated."""
        if self._report is not None and not trainer.enable_validation:
            self._report.end_epoch(trainer.current_epoch)

    def on_train_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Report what no validation has followed."""
        if self._report is not None:
            self._report.end(trainer.current_epoch - 1)

    def teardown(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str
    ) -> None:
        """Take everything off the model and the loss."""
        for calls in self._calls:
            calls.remove()
            calls.loss.factor = calls.loss.observe = None
        self._calls, self._report = [], None
        self._loading.close()


def _piwsl_loss(pl_module: Any) -> PIWSLLoss | None:
    """The module's loss if it is ours; its class is not even imported for other losses."""
    module = sys.modules.get("piwsl_plugins.nequip.loss")
    loss = getattr(pl_module, "loss", None)
    return loss if module is not None and isinstance(loss, module.PIWSLLoss) else None
