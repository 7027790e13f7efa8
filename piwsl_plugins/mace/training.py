"""One training epoch of MACE with PIWSL, and what it logs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from mace.modules.loss import is_ddp_enabled
from torch.optim import LBFGS

from ..core.report import describe
from .displaced import DisplacedEvaluation
from .energy_loss import EnergyLoss
from .loss import PIWSLLoss
from .softening import begin_epoch
from .sources import of_loader


def train_one_epoch_with_piwsl(train: Callable[[], None], arguments: dict[str, Any]) -> None:
    """Run MACE's ``train_one_epoch`` with displaced evaluation, and log the epoch's terms.

    Args:
        train: MACE's function with its arguments bound.
        arguments: these arguments by name.
    """
    loss: PIWSLLoss = arguments["loss_fn"]
    epoch: int = arguments["epoch"]
    begin_epoch(loss, epoch)
    if not (loss.is_on or isinstance(loss.base_loss, EnergyLoss)):
        return train()
    one_step = isinstance(arguments["optimizer"], LBFGS)
    first_step = epoch if one_step else epoch * len(arguments["data_loader"])
    sources = of_loader(arguments["data_loader"], loss.settings)
    with DisplacedEvaluation(
        arguments["model"], loss, epoch, first_step, one_step, sources=sources
    ):
        train()
    means = loss.statistics.take(reduce=is_ddp_enabled())
    if means:
        weights = loss.weights_at(epoch)
        logging.info(f"Epoch {epoch}: PIWSL: {describe(means)}")
        loss.warn(means, weights["pitc"])
        if arguments["rank"] == 0:
            arguments["logger"].log(results_line(epoch, means, weights))


def results_line(epoch: int, means: dict[str, float], weights: dict[str, float]) -> dict[str, Any]:
    """The epoch's entry in MACE's results file, beside MACE's own of mode "opt" and "eval"."""
    line: dict[str, Any] = {"mode": "piwsl", "epoch": epoch, "base_loss": means["base"]}
    for term, weight in weights.items():
        if term in means:
            line[term] = means[term]
            line[f"{term}_weight"] = weight
            line[f"rms_{term}_residual_per_atom"] = means[f"{term}_residual"]
    return line
