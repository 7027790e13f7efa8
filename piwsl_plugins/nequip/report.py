"""What NequIP's log says of PIWSL."""

from __future__ import annotations

from nequip.data import AtomicDataDict
from nequip.utils import RankedLogger
from torch import Tensor

from ..core.report import EpochStatistics, describe, describe_first_step, dominance_warning
from ..core.settings import AUTO, options
from .loss import TERMS, PIWSLLoss

logger = RankedLogger(__name__, rank_zero_only=True)


class Report:
    """The start-up block, the first step's residuals, a line per epoch, and the warning."""

    def __init__(self, loss: PIWSLLoss, seed: int, distributed: bool) -> None:
        """
        Args:
            loss: the loss, whose settings are logged now.
            seed: seed of the displacements, given or derived.
            distributed: whether there are several ranks.
        """
        self.loss = loss
        self.distributed = distributed
        self.statistics = EpochStatistics()
        self._factor = 0.0
        self._reported = False
        self._warned = False
        _log_settings(loss, seed)

    def add_step(
        self, values: dict[str, Tensor], preds: AtomicDataDict.Type, target: AtomicDataDict.Type
    ) -> None:
        """Add a training step with PIWSL terms.

        Args:
            values: the loss' terms by name, and "weighted_sum".
            preds: the model's output.
            target: the labels.
        """
        factor = self._factor = self.loss.factor or 0.0
        weighted = {
            term: factor * weight * values[term].detach()
            for term, weight in self.loss.weights().items()
        }
        base = values["weighted_sum"].detach() - sum(weighted.values())
        self.statistics.add_base(base, _energy_error(preds, target))
        for term, value in weighted.items():
            self.statistics.add_term(term, value, preds[f"piwsl_{term}"], preds["piwsl_n_atoms"])
        if not self._reported:
            self._reported = True
            means = self.statistics.means()
            logger.info(f"PIWSL: first training step: {describe_first_step(means)}")
            self._warn(means)

    def end_epoch(self, epoch: int) -> None:
        """Log the epoch's means; every rank must call it."""
        means = self.statistics.take(self.distributed)
        if means:
            weight = f", pitc_weight={self._weight():.4g}" if self.loss.auto else ""
            logger.info(f"PIWSL: epoch {epoch}: {describe(means)}{weight}")
            self._warn(means)

    def _weight(self) -> float:
        """In the unit of the option: relative to the coefficients as the user wrote them."""
        return self._factor * self.loss.weights().get("pitc", 0.0) * self.loss.sum_of_coeffs

    def _warn(self, means: dict[str, float]) -> None:
        settings = self.loss.settings
        if settings.pitc_target != "zero" or settings.pitc_weight == AUTO:
            return
        message = dominance_warning(means, self._weight(), prefix="")
        if message and not self._warned:
            self._warned = True
            logger.warning(message)


def _energy_error(preds: AtomicDataDict.Type, target: AtomicDataDict.Type) -> Tensor:
    """Errors of the energy per atom of the frames with an energy label, ``(n_labelled,)``."""
    if "total_energy" not in target:
        return preds["total_energy"].new_zeros(0)
    error = (preds["total_energy"] - target["total_energy"]).detach().view(-1)
    error = error / target["num_atoms"]
    return error[error.isfinite()]


def _log_settings(loss: PIWSLLoss, seed: int) -> None:
    logger.info("===========PIWSL===========")
    logger.info(
        "Physics-informed weakly supervised learning (arXiv 2408.05215): the terms pitc and pisc "
        "are added to the supervised loss in training; data statistics, validation and tests see "
        "the original frames alone"
    )
    for name, option in options("nequip").items():
        value = seed if name == "seed" else getattr(loss.settings, name)
        unit = f" {option.unit}" if option.unit else ""
        logger.info(f"{name}: {value}{unit}")
    coeffs = ", ".join(
        f"{name} {entry.coeff:g}" for name, entry in loss.entries.items() if entry.coeff is not None
    )
    logger.info(f"coefficients in the loss: {coeffs}")
    if not loss.is_on:
        logger.info(
            f"The weights of {' and '.join(TERMS)} are 0: this is the supervised loss alone"
        )
