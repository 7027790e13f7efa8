"""What NequIP's log says of a training with PIWSL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import lightning
import torch
from nequip.data import AtomicDataDict
from nequip.utils import RankedLogger
from torch import Tensor

from ..labels.hessian_lookup import HessianLabels
from ..terms.terms import Term
from ..terms.training_log import TrainingLog, describe, describe_options
from ..terms.validation import ValidationWatch
from .host import NequIPHost

if TYPE_CHECKING:
    from .loss import PIWSLLoss

logger = RankedLogger(__name__, rank_zero_only=True)

#: name of the force slope in the trainer's metrics
SLOPE = "val_epoch/force_slope"
#: of the error of held-out Hessian labels
HESSIAN = "val_epoch/hessian_rms"
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
        valid_labels: HessianLabels | None = None,
        pretrained: bool = False,
    ) -> None:
        """
        Args:
            loss: of the training, whose settings are logged now.
            terms: with a weight.
            n_ranks: number of ranks.
            max_epochs: length of the training, if it is known.
            valid_labels: Hessian labels of validation structures.
            pretrained: whether the model was trained before.
        """
        self.loss, self.terms = loss, terms
        self._distributed = n_ranks > 1
        self._every = max(1, (max_epochs or 0) // LINES)
        self._line_epoch, self._next = -1, 0
        self._log = TrainingLog(logger.info, logger.warning)
        self._weights: dict[str, float] = {}
        guarded = loss.is_on and loss.settings.run.softening_guard != "off"
        self._watch = ValidationWatch(loss.settings, guarded, valid_labels, pretrained)
        self._host: NequIPHost | None = None
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
        if loss.pool_coeff:
            coeffs = coeffs | {"pool": loss.pool_coeff}
        losses = {name: coeff * values[name].detach() for name, coeff in coeffs.items()}
        losses["base"] = self._base_of(values)
        self._log.add_step(
            self._acting(), self._weights, losses, preds, _energy_error(preds, target)
        )

    def _base_of(self, values: dict[str, Tensor]) -> Tensor:
        """The supervised loss; a part of which the batch has no label (NaN) does not count.

        It is NaN if no part has one.
        """
        entries = self.loss.entries
        weighted = [(entries[name].coeff, values[name]) for name in self.loss.supervised]
        parts = torch.stack([coeff * value.detach() for coeff, value in weighted if coeff])
        nothing = parts.isnan().all()
        return torch.where(nothing, torch.nan, parts.nansum())

    def add_validation(
        self, model: torch.nn.Module, output: AtomicDataDict.Type, batch: AtomicDataDict.Type
    ) -> None:
        """Add a validation batch.

        Args:
            model: as it is validated.
            output: the model's.
            batch: with force labels, if there are any; NaN is no label.
        """
        if self._host is None or self._host.model is not model:
            levels = self.loss.settings.nequip.levels
            self._host = NequIPHost(model, levels)  # kept, for its neighbour lists
        with torch.enable_grad():
            self._watch.add(self._host, batch, output)

    def end_validation(self, epoch: int, module: lightning.LightningModule) -> None:
        """Log means and what the validation has found; every rank must call it."""
        found, warning = self._watch.take(module.device if self._distributed else None)
        self.end_epoch(epoch, f"; on validation data: {found}" if str(found) else "")
        if found.slope is not None:
            module.log(SLOPE, found.slope.value)
        if found.hessian_rms is not None:
            module.log(HESSIAN, found.hessian_rms)
        if warning:
            logger.warning(warning)

    def end_epoch(self, epoch: int, found: str = "") -> None:
        """Log the means, if it is time for a line again; every rank must call it.

        Validations may come in some epochs only, or several times in one.
        """
        if epoch >= self._next:
            self._line_epoch = epoch
            self._next = (epoch // self._every + 1) * self._every
        if epoch == self._line_epoch:
            self.end(epoch, found)

    def end(self, epoch: int, found: str = "") -> None:
        """Log the means since the last time; every rank must call it."""
        means = self._log.statistics.take(self._distributed)
        if means or found:
            logger.info(f"PIWSL: epoch {epoch}: {describe(means, self.terms)}{found}")
        self._log.judge(means, self._weights, self._acting())

    def _acting(self) -> list[Term]:
        return [term for term in self.terms if term.name in self._weights]


def _energy_error(preds: AtomicDataDict.Type, target: AtomicDataDict.Type) -> Tensor:
    """Errors of the energy per atom of the structures with an energy label, ``(n_labelled,)``."""
    if AtomicDataDict.TOTAL_ENERGY_KEY not in target:
        return preds[AtomicDataDict.TOTAL_ENERGY_KEY].new_zeros(0)
    found, wanted = (data[AtomicDataDict.TOTAL_ENERGY_KEY] for data in (preds, target))
    error = (found - wanted).detach().view(-1) / target[AtomicDataDict.NUM_NODES_KEY]
    return error[error.isfinite()]
