"""One training: all that PIWSL knows of it, and its part of a step, for every framework."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ..labels.hessian_lookup import HessianLabels
from ..options.settings import Settings
from .found import POOL, Found
from .host import Batch, Host, Output, plain
from .loss_gradient import LossGradient
from .penalties import Penalty, mean_penalty
from .pool import Pool
from .schedule import weight_factor
from .softening import remedy
from .step import Step
from .term_table import supervises_pool, terms_of, weights_of
from .training_log import EpochMeans, TrainingLog
from .validation import Finding, ValidationWatch


class Moment(NamedTuple):
    """Where training stands.

    Attributes:
        epoch: from 0; displacements are drawn anew in each.
        step: optimiser steps since the start of training, which the schedule counts.
        batch: number of the batch since the start of training, by which the pool goes, and the
            displacements of its structures.
    """

    epoch: int
    step: int
    batch: int


class Call(NamedTuple):
    """How the trainer's call of the model is to be made.

    Attributes:
        inputs: what the model is to be called with.
        forces: whether forces are needed.
    """

    inputs: Batch
    forces: bool


class Training:
    """What PIWSL knows of one training, and does in each of its steps.

    A step, in any trainer or loop::

        call = training.begin(host, batch, Moment(epoch, step, step), base_uses_forces=True)
        found = training.end(model(call.inputs))
        loss = training.loss(found, base_loss(found.output, batch))

    Attributes:
        settings: decided (:meth:`Settings.decided`).
        terms: those with a weight.
        pool: structures beside the training set, if there are any.
        seed: of the displacements.
        log: of the training's steps.
        watch: what is looked at on validation data, if anything is.
    """

    def __init__(
        self,
        settings: Settings,
        labels: HessianLabels | None = None,
        pool: Pool | None = None,
        *,
        penalty: Penalty | None = None,
        seed: int | None = None,
        weights: Callable[[], Mapping[str, float]] | None = None,
        log: TrainingLog | None = None,
        watch: ValidationWatch | None = None,
        join: bool | None = None,
    ) -> None:
        """
        Args:
            settings: decided.
            labels: Hessian labels, if there is a weight on them.
            pool: structures beside the training set.
            penalty: of errors of Hessian labels, by default squares.
            seed: of the displacements, by default that of the settings, or 0.
            weights: gives the present weights of the terms, and of :data:`~.found.POOL`; by default
                those of the settings. A term without one does not act.
            log: of the training's steps, by default Python's.
            watch: what is looked at on validation data.
            join: whether displaced structures share calls (:class:`~.step.Step`).

        Raises:
            RuntimeError: if labels or pool have a weight and are not given.
        """
        self.settings, self.pool, self.watch = settings, pool, watch
        self.terms = terms_of(settings, labels, penalty)
        self.seed = (settings.run.seed or 0) if seed is None else seed
        logger = logging.getLogger("piwsl_plugins")
        self.log = log or TrainingLog(logger.info, logger.warning)
        self._weights = weights or self._weights_of_settings
        self._join = join
        self._step: Step | None = None
        self._acting = Found(None)
        lack_labels = {term.name for term in self.terms} != weights_of(settings).keys()
        if lack_labels or (supervises_pool(settings) and pool is None):
            raise RuntimeError(
                "PIWSL: Hessian labels or pool have a weight, but have not been read; train with "
                "mace_run_train or nequip-train, which read them, or give Training its labels and "
                "pool"
            )

    def _weights_of_settings(self) -> Mapping[str, float]:
        weights = weights_of(self.settings)
        if supervises_pool(self.settings):
            weights[POOL] = self.settings.pool.pool_weight
        return weights

    def begin(
        self,
        host: Host,
        batch: Batch,
        moment: Moment,
        base_uses_forces: bool,
        loss_gradient: LossGradient | None = None,
    ) -> Call:
        """Before the trainer's call of the model: what it is to be called with.

        Args:
            host: the framework's model.
            batch: of the trainer.
            moment: where training stands.
            base_uses_forces: whether the trainer needs forces in this call.
            loss_gradient: gives the gradient of the trainer's loss for this batch; called where
                displacements go along it, on every rank in the same steps.

        Returns:
            the batch, with the structures of the pool and displaced ones, if there are any.

        Raises:
            RuntimeError: if displacements go along this gradient, and it is not given.
        """
        factor = weight_factor(self.settings.schedule, moment.epoch, moment.step)
        weights = self._weights()
        terms = [term for term in self.terms if factor and weights.get(term.name)]
        acting = {term.name: factor * weights[term.name] for term in terms}
        pool = labels = None
        if self.pool is not None:
            # also in steps that do without it, so that the loader's workers go on
            loaded = self.pool.batch(moment.batch)
            if terms or weights.get(POOL):
                pool, labels = host.beside(batch, loaded)
        if pool is not None and weights.get(POOL):
            acting[POOL] = weights[POOL]
        self._acting = Found(None, pool_labels=labels, weights=acting, factor=factor)
        self._step = None
        if not terms and pool is None:
            return Call(plain(batch), base_uses_forces)
        self._step = Step(
            host,
            terms,
            batch,
            pool,
            self.seed,
            moment.epoch,
            base_uses_forces,
            self._join,
            loss_gradient,
            moment.batch,
        )
        if self._step.unmoved:
            self.log.warn_of_unmoved(self._step.unmoved)
        return Call(plain(self._step.inputs), self._step.forces)

    def end(self, output: Output) -> Found:
        """After the call.

        Args:
            output: the model's.

        Returns:
            its part for the batch, and what was found.
        """
        step, self._step = self._step, None
        acting, self._acting = self._acting, Found(None)
        found = Found(output) if step is None else step.finish(output)
        return dataclasses.replace(
            found, pool_labels=acting.pool_labels, weights=acting.weights, factor=acting.factor
        )

    def loss(
        self,
        found: Found,
        base: Tensor,
        pool: Tensor | None = None,
        energy_error: Tensor | None = None,
        mean: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """The loss of a step, which the log is told.

        Args:
            found: in the step.
            base: the supervised loss of the trainer's batch, a scalar.
            pool: the same of the pool, where its labels are trained on.
            energy_error: errors per atom of the structures with an energy label, in eV.
            mean: of penalties, over all ranks if there are several; by default of this one.

        Returns:
            ``base``, + the pool's weight times ``pool``, + the weights of the terms times the means
            of their penalties.
        """
        losses = {"base": base}
        if pool is not None:
            losses[POOL] = found.weights[POOL] * pool
        for term in found.terms:
            value = (mean or mean_penalty)(found.penalties[term.name])
            losses[term.name] = found.weights[term.name] * value
        if len(losses) > 1:
            self.log.add_step(found, losses, energy_error)
        total = base
        for name in [name for name in losses if name != "base"]:
            total = total + losses[name]
        return total

    def end_epoch(self, reduce: bool = False) -> EpochMeans:
        """The means since the last time, over all ranks if ``reduce``; every rank must call it."""
        means, weights = self.log.take(reduce)
        return EpochMeans(means, weights, [term for term in self.terms if term.name in means])

    def judge(self, epoch: EpochMeans) -> None:
        """Warn, once, if a term can flatten the potential."""
        self.log.judge(epoch.means, epoch.weights, epoch.terms)

    def end_validation(self, device: torch.device | None = None) -> tuple[Finding, str | None]:
        """What a validation has found, and a warning, if there is reason for one.

        Args:
            device: where ranks exchange tensors, if there are several; all must call this.
        """
        assert self.watch is not None
        finding, problem = self.watch.take(device)
        if problem is None:
            return finding, None
        return finding, f"PIWSL: {problem}. Remedy: {remedy(self.settings, self.log.option)}"


def mean_over_ranks(penalties: Tensor) -> Tensor:
    """Mean over the penalties of all ranks, times their number, over which DDP averages.

    Every rank must call this, and may have none.
    """
    count = torch.tensor(float(penalties.numel()), device=penalties.device, dtype=penalties.dtype)
    torch.distributed.all_reduce(count)
    return penalties.sum() * torch.distributed.get_world_size() / count.clamp(min=1.0)
