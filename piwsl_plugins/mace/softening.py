"""The softening guard in MACE's trainer: the force slope of every validation."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from mace.modules.loss import is_ddp_enabled
from torch import Tensor

from ..core.softening import ForceSlope, ForceSums
from .energy_loss import EnergyLoss
from .labels import has_forces
from .loss import PIWSLLoss
from .sources import carrying_heads

#: result of MACE's ``evaluate``: the loss, and errors by name
Evaluation = tuple[float, dict[str, Any]]


class _StopTraining(Exception):
    """Leaves MACE's training loop before an epoch, ``softening_guard="stop"``."""


class ForceSlopeWatch:
    """Collects the forces of a validation, over all heads and ranks, and acts on their slope."""

    def __init__(self, loss: PIWSLLoss, n_loaders: int, logger: Any, rank: int) -> None:
        """
        Args:
            loss: of stage one; its guard, which stage two shares, is told the slopes.
            n_loaders: number of MACE's validation loaders, one for each head.
            logger: MACE's results file.
            rank: of this process; rank 0 writes the results file.
        """
        self.settings = loss.settings
        self.guard = loss.guard
        self.n_loaders = n_loaders
        self.logger = logger
        self.rank = rank
        self.epoch: int | None = None
        self._sums = ForceSums()
        self._evaluated = 0

    def add(self, model: torch.nn.Module, batch: dict[str, Tensor], output: dict[str, Any]) -> None:
        """Add a batch that the model has been called with; replay structures are left out."""
        keep = torch.ones_like(batch["ptr"][1:], dtype=torch.bool)
        if "head" in batch:
            names = list(getattr(model, "heads", None) or ["Default"])
            heads = [names.index(name) for name in carrying_heads(self.settings, names)]
            keep &= torch.isin(batch["head"], torch.tensor(heads, device=keep.device))
        labelled = (keep & has_forces(batch))[batch["batch"]]
        others = keep[batch["batch"]] & ~labelled
        self._sums.add(output["forces"][labelled], batch["forces"][labelled])
        self._sums.add(output["forces"][others])

    def finish_loader(self) -> None:
        """Judge the validation once all its loaders have been evaluated."""
        self._evaluated += 1
        if self._evaluated < self.n_loaders:
            return
        self._evaluated = 0
        sums = self._sums.take(_exchange_device() if is_ddp_enabled() else None)
        slope = self.guard.slope(*sums)
        if slope is not None:
            self._judge(slope)

    def _judge(self, slope: ForceSlope) -> None:
        when = "Initial" if self.epoch is None else f"Epoch {self.epoch}"
        logging.info(f"{when}: PIWSL: force slope {slope}")
        warning = self.guard.judge(slope)
        if warning:
            logging.warning(warning)
        if self.rank == 0:
            self.logger.log(
                {
                    "mode": "piwsl_softening",
                    "epoch": self.epoch,
                    "force_slope": slope.value,
                    # a number: MACE 0.3.16 plots means of all columns, and fails at words
                    "against_labels": int(slope.labelled),
                    "weight_factor": self.guard.factor,
                }
            )


def _exchange_device() -> torch.device:
    """Where ranks can exchange tensors: NCCL knows those of a GPU only."""
    nccl = torch.distributed.get_backend() == "nccl"
    return torch.device("cuda" if nccl else "cpu")


def train_with_guard(train: Callable[[], None], arguments: dict[str, Any]) -> None:
    """Run MACE's ``train`` with the softening guard, for all stages that have PIWSL terms.

    Args:
        train: MACE's function with its arguments bound.
        arguments: these arguments by name.
    """
    loss, swa = arguments["loss_fn"], arguments["swa"]
    stages = [loss] if swa is None else [loss, swa.loss_fn]
    for later in stages[1:]:
        later.follow(loss)
    if loss.settings.softening_guard != "off":
        watch = ForceSlopeWatch(
            loss, len(arguments["valid_loaders"]), arguments["logger"], arguments["rank"]
        )
        for stage in stages:
            stage.watch = watch if stage.is_on else None
    try:
        train()
    except _StopTraining:
        logging.info("Training complete: stopped by the softening guard of PIWSL")
        if swa is not None and watch.epoch is not None and watch.epoch < swa.start:
            # as MACE does where stage two would start after the last epoch
            swa.loss_fn.evaluated_stages[-1] = False
    finally:
        for stage in stages:
            stage.watch = None


def begin_epoch(loss: PIWSLLoss, epoch: int) -> None:
    """Tell the guard of the epoch that is about to be trained, or end training before it."""
    if loss.guard.stop:
        raise _StopTraining
    if loss.watch is not None:
        loss.watch.epoch = epoch


def evaluate_with_guard(
    evaluate: Callable[[], Evaluation], arguments: dict[str, Any]
) -> Evaluation:
    """Run MACE's ``evaluate``, and let the guard see the forces while the run is training.

    Without a guard and with energies as the base loss, forces are computed only where there
    are labels to compare them with.

    Args:
        evaluate: MACE's function with its arguments bound.
        arguments: these arguments by name.
    """
    loss: PIWSLLoss = arguments["loss_fn"]
    model = arguments["model"]
    watch = loss.watch

    def before(
        model: torch.nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, keywords | {"compute_force": bool(has_forces(args[0]).any())}

    def after(_: torch.nn.Module, args: tuple[Any, ...], output: dict[str, Any]) -> None:
        assert watch is not None
        watch.add(getattr(model, "module", model), args[0], output)

    if watch is not None:
        handle = model.register_forward_hook(after)
    elif isinstance(loss.base_loss, EnergyLoss):
        handle = model.register_forward_pre_hook(before, with_kwargs=True)
    else:
        return evaluate()
    try:
        result = evaluate()
    finally:
        handle.remove()
    if watch is not None:
        watch.finish_loader()
    return result
