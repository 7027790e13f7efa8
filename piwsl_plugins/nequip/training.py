"""A training with PIWSL: hooks around the model's call, the report, the Lightning callback."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from nequip.data import AtomicDataDict
from nequip.utils import RankedLogger
from torch import Tensor

from ..core.pool import Pool
from ..core.schedule import weight_factor
from ..core.softening import ForceSums, SofteningGuard
from ..core.step import Step
from ..core.term_table import terms_of
from ..core.terms import Term
from ..core.training_log import (
    EpochStatistics,
    describe,
    describe_first_step,
    describe_options,
    dominance_warning,
)
from .host import NequIPHost
from .structures import POOL_LABELS

if TYPE_CHECKING:
    from .loss import PIWSLLoss

logger = RankedLogger(__name__, rank_zero_only=True)

#: name of the force slope in the trainer's metrics
SLOPE = "val_epoch/force_slope"
#: lines of the log on a whole training, besides the first step's
LINES = 20


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
    """Hooks on a model that let :class:`piwsl_plugins.core.step.Step` act around training's calls.

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
            join: see :class:`piwsl_plugins.core.step.Step`.
        """
        self.host = NequIPHost(model)
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
    ) -> tuple[AtomicDataDict.Type] | None:
        self._step = self._pooled = None
        now = self.moment() if model.training else None
        if now is None:
            return None
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
            return (self._step.inputs,)
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
            self.host.check_forces(output)
        result = step.finish(output)
        if self._pooled is not None:
            result[POOL_LABELS] = self._pooled
        return result


class Report:
    """What NequIP's log says of PIWSL: options, the first step, and some lines on the way.

    Loggers have every epoch; the log itself, in which NequIP says nothing between start and end,
    gets :data:`LINES` lines.
    """

    def __init__(self, loss: PIWSLLoss, terms: Sequence[Term], trainer: lightning.Trainer) -> None:
        """
        Args:
            loss: of the training, whose settings are logged now.
            terms: with a weight.
            trainer: of the training.
        """
        self.loss, self.terms = loss, terms
        self._distributed = trainer.world_size > 1
        self._every = max(1, (trainer.max_epochs or 0) // LINES)
        self._statistics = EpochStatistics()
        self._weights: dict[str, float] = {}
        self._reported = self._warned = False
        watches = loss.is_on and loss.settings.run.softening_guard != "off"
        self._guard = SofteningGuard() if watches else None
        self._forces = ForceSums()
        coeffs = ", ".join(
            f"{name} {entry.coeff:g}" for name, entry in loss.entries.items() if entry.coeff
        )
        logger.info(f"PIWSL: {', '.join(describe_options(loss.settings))}")
        alone = "" if loss.is_on else "; no PIWSL term has a weight: the supervised loss alone"
        logger.info(f"PIWSL: coefficients in the loss: {coeffs}{alone}")

    def add_step(
        self, values: dict[str, Tensor], preds: AtomicDataDict.Type, target: AtomicDataDict.Type
    ) -> None:
        """Add a training step.

        Args:
            values: the loss' terms by name, and "weighted_sum".
            preds: the model's output.
            target: the labels.
        """
        loss, factor = self.loss, self.loss.factor or 0.0
        if not factor and not loss.pool_coeff:
            return
        coeffs = {name: factor * coeff for name, coeff in loss.weights().items()} if factor else {}
        self._weights = {name: coeff * loss.sum_of_coeffs for name, coeff in coeffs.items()}
        weighted = {name: coeff * values[name].detach() for name, coeff in coeffs.items()}
        base = values["weighted_sum"].detach() - sum(weighted.values())
        if loss.pool_coeff:
            pool = loss.pool_coeff * values["pool"].detach()
            base = base - pool
            self._statistics.add("pool", pool)
        self._statistics.add("base", base)
        self._statistics.add_squares("energy_error", _energy_error(preds, target))
        for name, value in weighted.items():
            self._statistics.add_term(name, value, preds[f"piwsl_{name}_residual"])
        if not self._reported and coeffs:
            self._reported = True
            means = self._statistics.means()
            logger.info(f"PIWSL: first training step: {describe_first_step(means, self.terms)}")
            self._warn(means)

    def add_validation(self, output: AtomicDataDict.Type, batch: AtomicDataDict.Type) -> None:
        """Add a validation batch to the force slope, of the model as it is validated (EMA or not).

        Args:
            output: the model's.
            batch: with force labels, if there are any; NaN is no label.
        """
        forces = output.get(AtomicDataDict.FORCE_KEY)
        labels = batch.get(AtomicDataDict.FORCE_KEY)
        if self._guard is None or forces is None:
            return
        if labels is None:
            self._forces.add(forces)
            return
        known = labels.isfinite().all(dim=-1)
        self._forces.add(forces[known], labels[known])
        self._forces.add(forces[~known])

    def end_validation(self, epoch: int, module: lightning.LightningModule) -> None:
        """Log means and force slope; every rank must call it."""
        device = module.device if self._distributed else None
        slope = self._guard and self._guard.slope(*self._forces.take(device))
        if epoch % self._every == 0:
            self.end(epoch, f", force slope on validation data {slope}" if slope else "")
        if self._guard and slope:
            module.log(SLOPE, slope.value)
            message = self._guard.judge(slope)
            if message:
                logger.warning(message)

    def end(self, epoch: int, slope: str = "") -> None:
        """Log the means since the last time; every rank must call it."""
        means = self._statistics.take(self._distributed)
        if means or slope:
            logger.info(f"PIWSL: epoch {epoch}: {describe(means, self.terms)}{slope}")
        self._warn(means)

    def _warn(self, means: dict[str, float]) -> None:
        terms = [term for term in self.terms if term.name in self._weights]
        message = dominance_warning(means, self._weights, terms, prefix="") if means else None
        if message and not self._warned:
            self._warned = True
            logger.warning(message)


def _energy_error(preds: AtomicDataDict.Type, target: AtomicDataDict.Type) -> Tensor:
    """Errors of the energy per atom of the structures with an energy label, ``(n_labelled,)``."""
    if AtomicDataDict.TOTAL_ENERGY_KEY not in target:
        return preds[AtomicDataDict.TOTAL_ENERGY_KEY].new_zeros(0)
    found, wanted = (data[AtomicDataDict.TOTAL_ENERGY_KEY] for data in (preds, target))
    error = (found - wanted).detach().view(-1) / target[AtomicDataDict.NUM_NODES_KEY]
    return error[error.isfinite()]


class PIWSLCallback(Callback):
    """Does nothing unless the training module's loss is a ``PIWSLLoss``.

    It is not in a config: ``_callback`` adds it to every trainer.
    """

    def __init__(self) -> None:
        self._calls: list[TrainingCalls] = []
        self._report: Report | None = None

    def setup(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str
    ) -> None:
        """Check the data, and attach to the model, before anything is logged or written."""
        loss = _piwsl_loss(pl_module)
        if loss is None or stage != "fit":
            return
        from .data import check_data, datasets_of, hessian_labels
        from .loss import labels_of, uses_forces
        from .pool import make_pool

        settings, datamodule = loss.settings, trainer.datamodule
        datasets, metrics = datasets_of(datamodule), pl_module.train_metrics
        finite = {
            "train": labels_of([loss, metrics], finite=True),
            "val": labels_of(pl_module.val_metrics, finite=True),
            "test": labels_of(pl_module.test_metrics, finite=True),
        }
        check_data(datasets, finite)
        if not loss.is_on:
            Report(loss, [], trainer)
            return
        models, seed, pool = pl_module.model, settings.run.seed, None
        seed = int(getattr(datamodule, "seed", 0)) if seed is None else seed
        first = next(iter(models.values()))
        if settings.pool.pool_file is not None:
            pool = make_pool(settings.pool, first, labels_of([loss]), trainer, datasets, seed)
        labels = hessian_labels(settings, datasets, pool, list(first.type_names))
        terms = terms_of(settings, labels)
        self._report = Report(loss, terms, trainer)

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
            self._report.add_validation(outputs[f"val_{dataloader_idx}_output"], batch)

    def on_validation_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Report, where NequIP does."""
        if self._report is not None and not trainer.sanity_checking:
            self._report.end_validation(trainer.current_epoch, pl_module)

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


def _piwsl_loss(pl_module: Any) -> PIWSLLoss | None:
    """The module's loss if it is ours; its class is not even imported for other losses."""
    module = sys.modules.get("piwsl_plugins.nequip.loss")
    loss = getattr(pl_module, "loss", None)
    return loss if module is not None and isinstance(loss, module.PIWSLLoss) else None
