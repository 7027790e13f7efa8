"""MACE's training loop with PIWSL: its calls of the model, the epoch, and the validation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch.optim import LBFGS

from ..disk import full_disk
from ..terms.loading import describing
from ..terms.term_table import weights_of
from ..terms.training import Moment, Training
from ..terms.validation import ValidationWatch
from .companions import companions_of
from .first_energies import check_first_energies
from .host import MACEHost, SupervisedLoss
from .labelled_errors import labelled_errors
from .loss import PIWSLLoss
from .missing_labels import has_label
from .reporting import Reporting

#: result of MACE's ``evaluate``: the loss, and errors by name
Evaluation = tuple[float, dict[str, Any]]
_NO_FORCES = {"compute_force": False, "compute_virials": False, "compute_stress": False}


class TrainingCalls:
    """Hooks on a MACE model that make each training call of it a step of a training.

    MACE's trainer calls ``model(batch, training=True, …)``. Where neither the base loss nor a term
    needs forces, the call computes none. Under DistributedDataParallel they sit on the wrapped
    model, so that all happens in one forward call. A context manager for one epoch.
    """

    def __init__(
        self,
        host: MACEHost,
        training: Training,
        moments: Iterator[Moment],
        base_uses_forces: bool = True,
        supervised: SupervisedLoss | None = None,
    ) -> None:
        """
        Args:
            host: with the MACE model, not its DistributedDataParallel wrapper.
            training: begins and ends the steps.
            moments: of the calls, one after the other.
            base_uses_forces: whether the base loss needs forces.
            supervised: the base loss, for displacements along its gradient.
        """
        self._host, self._training, self._moments = host, training, moments
        self._base_uses_forces, self._supervised = base_uses_forces, supervised
        self._has_begun = False

    def __enter__(self) -> TrainingCalls:
        model = self._host.model
        self._handles = [
            model.register_forward_pre_hook(self._before, with_kwargs=True),
            model.register_forward_hook(self._after),
        ]
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _before(
        self, model: torch.nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        self._has_begun = keywords.get("training", False)
        if not self._has_begun:
            return None
        moment = next(self._moments)
        gradient = None
        if self._supervised is not None:
            needed = {"compute_force": True} if self._base_uses_forces else _NO_FORCES
            gradient = partial(
                self._host.loss_gradient, args[0], self._supervised, *args[1:], **keywords | needed
            )
        uses_forces = self._base_uses_forces
        call = self._training.begin(self._host, args[0], moment, uses_forces, gradient)
        if call.forces:  # also with --compute_forces=False, where a term needs them
            return (call.inputs, *args[1:]), keywords | {"compute_force": True}
        return (self._host.energies_alone(call.inputs), *args[1:]), keywords | _NO_FORCES

    def _after(
        self, model: torch.nn.Module, args: tuple[Any, ...], output: dict[str, Any]
    ) -> dict[str, Any] | None:
        return self._training.end(output).in_output() if self._has_begun else None


def moments_of(epoch: int, first_step: int, one_step: bool = False) -> Iterator[Moment]:
    """Where training stands at each of MACE's calls in an epoch.

    Args:
        epoch: from 0.
        first_step: number of the epoch's first optimiser step.
        one_step: whether all calls of the epoch belong to one step (LBFGS); they then share the
            pool's structures.
    """
    steps = itertools.repeat(first_step) if one_step else itertools.count(first_step)
    return (Moment(epoch, step, step) for step in steps)


def train_one_epoch(run: Callable[[], None], arguments: dict[str, Any]) -> None:
    """Run MACE's ``train_one_epoch`` with PIWSL, and report the epoch.

    Args:
        run: MACE's function with its arguments bound.
        arguments: these by name.
    """
    loss: PIWSLLoss = arguments["loss_fn"]
    epoch, loader = arguments["epoch"], arguments["data_loader"]
    companions = companions_of(loader)
    training = loss.goes_on(companions)
    logger = arguments["logger"] if arguments["rank"] == 0 else None
    reporting = loss.reporting or Reporting(logger=logger)
    reporting.begin_epoch(epoch)
    if loss.uses_forces and not loss.is_on:
        return run()
    one_step = isinstance(arguments["optimizer"], LBFGS)
    moments = moments_of(epoch, epoch if one_step else epoch * len(loader), one_step)
    host = MACEHost(arguments["model"], loss.settings.mace.heads, companions.lists)
    calls = TrainingCalls(host, training, moments, loss.uses_forces, loss.supervised)
    loaders = [loader, *([] if training.pool is None else [training.pool])]
    with calls, describing(loaders, host.description, host.lists, training.terms):
        run()
    reporting.end_epoch(training)


def train(run: Callable[[], None], arguments: dict[str, Any]) -> None:
    """Run MACE's ``train`` as one training for each stage, whose validations are watched.

    Args:
        run: MACE's function with its arguments bound.
        arguments: these by name.

    Raises:
        SystemExit: where MACE could not write a checkpoint because the disk is full.
    """
    loss, swa = arguments["loss_fn"], arguments["swa"]
    stages: list[PIWSLLoss] = [loss] if swa is None else [loss, swa.loss_fn]
    settings, companions = loss.settings, companions_of(arguments["train_loader"])
    labels, guarded = companions.valid_labels, settings.run.softening_guard != "off"
    watch = ValidationWatch(settings, guarded, labels, loss.pretrained)
    logger = arguments["logger"] if arguments["rank"] == 0 else None
    reporting = Reporting(
        settings.mace.heads,
        logger,
        len(arguments["valid_loaders"]),
        arguments["eval_interval"],
        arguments["log_wandb"] and logger is not None,
    )
    for stage in stages:
        is_watched = labels is not None or (guarded and weights_of(stage.settings))
        stage.begin(companions, watch if is_watched else None, reporting)
    check_first_energies(
        arguments["model"],
        arguments["train_loader"].dataset,
        companions.expected,
        arguments["device"],
        loss.uses_forces,
    )
    try:
        run()
    except (OSError, RuntimeError) as error:
        problem = full_disk(arguments["checkpoint_handler"].io.directory)
        if problem is None:
            raise
        raise SystemExit(problem) from error
    finally:
        for stage in stages:
            stage.end()


def evaluate(run: Callable[[], Evaluation], arguments: dict[str, Any]) -> Evaluation:
    """Run MACE's ``evaluate``, and watch the forces while the run is training.

    Its errors are of the labels that there are (:mod:`.labelled_errors`).
    Without that and with energies as the base loss, forces are computed only where there are
    labels to compare them with, and not at all with ``--compute_forces=False``.

    Args:
        run: MACE's function with its arguments bound.
        arguments: these by name.

    Raises:
        SystemExit: where the loss is not finite while the run is training.
    """
    loss: PIWSLLoss = arguments["loss_fn"]
    model, watched = arguments["model"], loss.watched

    def before(
        model: torch.nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        wanted = watched is not None or (
            keywords["compute_force"] and bool(has_label(args[0], "forces").any())
        )
        return args, keywords | {"compute_force": wanted}

    handles = []
    if watched is not None or not loss.uses_forces:
        handles.append(model.register_forward_pre_hook(before, with_kwargs=True))
    if watched is not None:
        training, reporting = watched

        def after(_: torch.nn.Module, args: tuple[Any, ...], output: dict[str, Any]) -> None:
            reporting.add_validation(training, getattr(model, "module", model), args[0], output)

        handles.append(model.register_forward_hook(after))
    try:
        with labelled_errors():
            result = run()
    finally:
        for handle in handles:
            handle.remove()
    if watched is not None:
        reporting.end_loader(training)
    if loss.reporting is not None:
        _require_finite(result[0], loss.reporting.epoch)
    return result


def _require_finite(validation_loss: float, epoch: int | None) -> None:
    """End a run whose validation loss is NaN: MACE would keep this model, and no other after it.

    MACE 0.3.16 (``train`` in mace/tools/train.py) takes what is not ``>=`` the lowest loss for
    lower, writes such a model in the place of the best one, and ends as if all were well.

    Args:
        validation_loss: of one loader.
        epoch: None before the first step.

    Raises:
        SystemExit: if the loss is not finite.
    """
    if math.isfinite(validation_loss):
        return
    if epoch is None:
        raise SystemExit(
            f"before the first step the loss of the validation data is {validation_loss}: the "
            "model, its E0s or the labels are not finite"
        )
    raise SystemExit(
        f"epoch {epoch}: the loss of the validation data is {validation_loss}: the training has "
        "diverged, and MACE would take this model for the best; its checkpoint of the best epoch "
        "before, if there is one, is kept: go on from it with --restart_latest, or begin again, "
        "with a lower --lr, or with --default_dtype=float64"
    )
