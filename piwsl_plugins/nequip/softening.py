"""The force slope on NequIP's validation frames, for the softening guard."""

from __future__ import annotations

from typing import Any

import torch
from nequip.data import AtomicDataDict
from nequip.utils import RankedLogger

from ..core.softening import ForceSums, SofteningGuard

logger = RankedLogger(__name__, rank_zero_only=True)

#: name of the slope in the trainer's metrics
METRIC = "val_epoch/force_slope"


class ForceWatch:
    """Sums of the forces of one validation pass, as the training module validates (EMA or not)."""

    def __init__(self, guard: SofteningGuard, world_size: int) -> None:
        """
        Args:
            guard: judges the slope; its ``factor`` scales the PIWSL weights.
            world_size: number of ranks.
        """
        self.guard = guard
        self._sums = ForceSums()
        self._distributed = world_size > 1

    def add(self, output: AtomicDataDict.Type, batch: AtomicDataDict.Type) -> None:
        """Add a validation batch.

        Args:
            output: the model's.
            batch: with force labels, if there are any; NaN is no label.
        """
        forces, labels = output.get("forces"), batch.get("forces")
        if forces is None:
            return
        if labels is None:
            self._sums.add(forces)
            return
        known = labels.isfinite().all(dim=-1)
        self._sums.add(forces[known], labels[known])
        self._sums.add(forces[~known])

    def end(self, trainer: Any, module: Any) -> None:
        """Judge the pass; every rank must call it."""
        device: torch.device | None = module.device if self._distributed else None
        slope = self.guard.slope(*self._sums.take(device))
        if slope is None:
            return
        logger.info(f"PIWSL: epoch {trainer.current_epoch}: force slope on validation data {slope}")
        module.log(METRIC, slope.value)
        message = self.guard.judge(slope)
        if message:
            logger.warning(message)
        if self.guard.stop:
            trainer.should_stop = True
