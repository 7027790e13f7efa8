"""What NequIP's log says of a training with PIWSL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import lightning
from nequip.data import AtomicDataDict
from nequip.utils import RankedLogger
from torch import Tensor

from ..core.softening import ForceSums, SofteningGuard
from ..core.terms import Term
from ..core.training_log import (
    EpochStatistics,
    describe,
    describe_first_step,
    describe_options,
    dominance_warning,
)

if TYPE_CHECKING:
    from .loss import PIWSLLoss

logger = RankedLogger(__name__, rank_zero_only=True)

#: name of the force slope in the trainer's metrics
SLOPE = "val_epoch/force_slope"
#: lines of the log on a whole training, besides the first step's
LINES = 20


class Report:
    """What NequIP's log says of PIWSL: options, the first step, and some lines on the way.

    Loggers have every epoch; the log itself, in which NequIP says nothing between start and end,
    gets :data:`LINES` lines.
    """

    def __init__(
        self,
        loss: PIWSLLoss,
        terms: Sequence[Term],
        n_ranks: int = 1,
        max_epochs: int | None = None,
    ) -> None:
        """
        Args:
            loss: of the training, whose settings are logged now.
            terms: with a weight.
            n_ranks: number of ranks.
            max_epochs: length of the training, if it is known.
        """
        self.loss, self.terms = loss, terms
        self._distributed = n_ranks > 1
        self._every = max(1, (max_epochs or 0) // LINES)
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
