"""The loss that MACE's trainer sees: a supervised MACE loss plus the PIWSL terms."""

from __future__ import annotations

import logging
from argparse import Namespace

import torch
from mace.modules.loss import is_ddp_enabled
from torch import Tensor

from ..core.penalty import penalty
from ..core.report import EpochStatistics, describe_first_step, dominance_warning
from ..core.schedule import weight_factor
from ..core.settings import Settings, options
from .arguments import destination, settings_of
from .labels import has_energy

TERMS = ("pitc", "pisc")


class PIWSLLoss(torch.nn.Module):
    """``base_loss`` + w_PITC ℓ(PITC) + w_PISC ℓ(PISC), ℓ being a mean over structures.

    The residuals are found in the model's output, under ``piwsl_pitc`` and ``piwsl_pisc``,
    where :class:`~piwsl_plugins.mace.training.DisplacedEvaluation` puts them in training.
    MACE's validation, model selection and error tables evaluate no displaced structures, so
    there this is the base loss.

    Attributes:
        base_loss: the supervised loss.
        settings: all options.
        factor: factor of both weights in the present training step, from the schedule.
        statistics: means over the epoch, for the log.
    """

    def __init__(self, base_loss: torch.nn.Module, settings: Settings) -> None:
        super().__init__()
        self.base_loss = base_loss
        self.settings = settings
        self.factor = 0.0
        self.statistics = EpochStatistics()
        self._reported = False
        self._warned = False

    @property
    def is_on(self) -> bool:
        """Whether any PIWSL term has a weight."""
        return any(self.weight(term) > 0 for term in TERMS)

    def weight(self, term: str) -> float:
        """The weight of "pitc" or "pisc", without the schedule's factor."""
        return getattr(self.settings, f"{term}_weight")

    def forward(self, ref, pred: dict[str, Tensor], ddp: bool | None = None) -> Tensor:
        """The loss of a batch, a scalar.

        Args:
            ref: MACE batch with the labels.
            pred: the model's output.
            ddp: as in MACE's losses: whether to reduce over ranks, by default if there are any.

        Raises:
            RuntimeError: in training, if the displaced structures have not been evaluated.
        """
        loss = self.base_loss(ref=ref, pred=pred, ddp=ddp)
        if self.factor == 0.0:
            return loss
        if "piwsl_n_atoms" not in pred:
            raise RuntimeError(
                "the PIWSL loss is used in training, but the model's output holds no evaluation of "
                "displaced structures; train with mace_run_train, whose train_one_epoch attaches it"
            )
        energy_error = (ref["energy"] - pred["energy"]) / ref["ptr"].diff()
        self.statistics.add_base(loss, energy_error[has_energy(ref)])
        for term in TERMS:
            if self.weight(term) > 0:
                values = penalty(self.settings, pred[f"piwsl_{term}"], pred["piwsl_n_atoms"])
                values = values.mean(dim=0) * pred["piwsl_weight"]
                weighted = self.weight(term) * self.factor * _mean(values, ddp)
                self.statistics.add_term(
                    term, weighted, pred[f"piwsl_{term}"], pred["piwsl_n_atoms"]
                )
                loss = loss + weighted
        if not self._reported:
            self._report_first_step()
        return loss

    def weights_at(self, epoch: int) -> dict[str, float]:
        """The weights in force in an epoch, by term."""
        factor = weight_factor(self.settings, epoch, step=0)
        return {term: factor * self.weight(term) for term in TERMS}

    def _report_first_step(self) -> None:
        self._reported = True
        means = self.statistics.means()
        logging.info(f"PIWSL: first training step: {describe_first_step(means)}")
        self.warn(means, self.factor * self.weight("pitc"))

    def warn(self, means: dict[str, float], pitc_weight: float) -> None:
        """Warn, once, if the PITC term can flatten the potential."""
        warning = dominance_warning(means, pitc_weight, prefix="--piwsl_")
        if warning and not self._warned:
            self._warned = True
            logging.warning(warning)

    def __repr__(self) -> str:
        weights = ", ".join(f"{term}_weight={self.weight(term):g}" for term in TERMS)
        return f"{type(self).__name__}(base_loss={self.base_loss}, {weights})"


def _mean(values: Tensor, ddp: bool | None) -> Tensor:
    """Mean over the structures of all ranks, times the world size over which DDP averages.

    As MACE's ``reduce_loss``, but a rank, or all of them, may have no structure here.
    """
    if not (is_ddp_enabled() if ddp is None else ddp and torch.distributed.is_initialized()):
        return values.sum() / max(values.numel(), 1)
    count = torch.tensor(float(values.numel()), device=values.device, dtype=values.dtype)
    torch.distributed.all_reduce(count)
    return values.sum() * torch.distributed.get_world_size() / count.clamp(min=1.0)


def build_loss(args: Namespace, base_loss: torch.nn.Module) -> PIWSLLoss:
    """The loss of stage one; logs every setting."""
    settings = settings_of(args)
    logging.info("===========PIWSL===========")
    logging.info(
        "Physics-informed weakly supervised learning (arXiv 2408.05215): the terms below are added "
        "to the base loss in training; validation, model selection and error tables use the base "
        "loss alone"
    )
    if args.loss != settings.base_loss:
        logging.info(
            f"base_loss: {args.loss} (MACE replaced '{settings.base_loss}', as it does for "
            "multihead fine-tuning)"
        )
    for name, option in options("mace").items():
        value = getattr(settings, name)
        if value is not None and not (name == "base_loss" and args.loss != value):
            unit = f" {option.unit}" if option.unit else ""
            shown = ",".join(value) if isinstance(value, tuple) else value
            logging.info(f"{name}: {shown}{unit} (--{destination(name)})")
    loss = PIWSLLoss(base_loss, settings)
    if not loss.is_on:
        logging.info("Both PIWSL weights are 0: this stage trains with the base loss alone")
    return loss


def build_stage_two_loss(args: Namespace, base_loss: torch.nn.Module) -> PIWSLLoss:
    """The loss of stage two: MACE's, with stage two's PIWSL weights."""
    loss = PIWSLLoss(base_loss, settings_of(args).stage_two())
    logging.info(f"Stage Two keeps the PIWSL terms: {loss}")
    return loss
