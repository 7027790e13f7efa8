"""What NequIP's log says of a training with PIWSL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightning
import torch
from nequip.data import AtomicDataDict
from nequip.utils import RankedLogger

from ..terms.training import Training
from ..terms.training_log import TrainingLog, describe_options
from .host import NequIPHost
from .levels import Chosen

if TYPE_CHECKING:
    from .loss import PIWSLLoss

logger = RankedLogger(__name__, rank_zero_only=True)

#: name of the force slope in the trainer's metrics
SLOPE = "val_epoch/force_slope"
#: of the error of held-out Hessian labels
HESSIAN = "val_epoch/hessian_rms"
#: lines of the log on a whole training, besides the first step's
LINES = 20


def log_options(loss: PIWSLLoss) -> None:
    """Log a loss's options and coefficients."""
    coeffs = ", ".join(
        f"{name} {entry.coeff:g}" for name, entry in loss.entries.items() if entry.coeff
    )
    logger.info(f"PIWSL: {', '.join(describe_options(loss.settings))}")
    alone = "" if loss.is_on else "; no PIWSL term has a weight: the supervised loss alone"
    logger.info(f"PIWSL: coefficients in the loss: {coeffs}{alone}")


def training_log(loss: PIWSLLoss) -> TrainingLog:
    """The log of the steps of a training by this loss, with weights as its config has them."""
    return TrainingLog(logger.info, logger.warning, scale=loss.sum_of_coeffs)


class EpochLog:
    """What NequIP's log says of PIWSL on the way.

    Loggers have every epoch; the log itself, in which NequIP says nothing between start and end,
    gets :data:`LINES` lines.
    """

    def __init__(
        self,
        training: Training,
        levels: Chosen | None = None,
        n_ranks: int = 1,
        max_epochs: int | None = None,
    ) -> None:
        """
        Args:
            training: what is reported.
            levels: of theory, those whose structures carry terms; None for all.
            n_ranks: number of ranks.
            max_epochs: length of the training, if it is known.
        """
        self._training, self._levels = training, levels
        self._distributed = n_ranks > 1
        self._every = max(1, (max_epochs or 0) // LINES)
        self._line_epoch, self._next = -1, 0
        self._host: NequIPHost | None = None

    def add_validation(
        self, model: torch.nn.Module, output: AtomicDataDict.Type, batch: AtomicDataDict.Type
    ) -> None:
        """Add a validation batch.

        Args:
            model: as it is validated.
            output: the model's.
            batch: with force labels, if there are any; NaN is no label.
        """
        assert self._training.watch is not None
        if self._host is None or self._host.model is not model:
            self._host = NequIPHost(model, self._levels)  # kept, for its neighbour lists
        with torch.enable_grad():
            self._training.watch.add(self._host, batch, output)

    def end_validation(self, epoch: int, module: lightning.LightningModule) -> None:
        """Log means and what the validation has found; every rank must call it."""
        device = module.device if self._distributed else None
        found, warning = self._training.end_validation(device)
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
        means = self._training.end_epoch(self._distributed)
        if means.means or found:
            logger.info(f"PIWSL: epoch {epoch}: {means}{found}")
        self._training.judge(means)
