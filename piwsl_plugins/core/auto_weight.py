"""The PITC weight in physical terms: a set ratio of gradient norms (``pitc_weight="auto"``)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .settings import Settings


class AutoWeight:
    """Keeps the gradient of the weighted PITC term at a fraction of the supervised gradient.

    The weight is found at its first step and every ``auto_interval`` steps after it. Within the
    first interval of training it is also looked at in steps 1, 2, 4, 8, …, and lowered if need
    be: a model from scratch has next to no curvature at first, and the weight that suits it then
    would ruin it. It comes from the gradients of that step's batch with respect to all
    parameters, over all ranks. It depends on nothing random, so ranks agree and runs repeat.
    Between adjustments it is a constant.

    Attributes:
        weight: the weight in force; 0 until the first :meth:`update`.
    """

    def __init__(self, settings: Settings) -> None:
        """Args: settings: ``auto_gradient_ratio`` and ``auto_interval`` are used."""
        self.settings = settings
        self.weight = 0.0
        self._last: int | None = None
        self._looked_at: int | None = None  # a closure may evaluate a step more than once

    def due(self, step: int) -> bool:
        """Whether the weight is to be found (anew) at an optimiser step, counted from 0."""
        if self._whole(step):
            return True
        power_of_two = step & (step - 1) == 0
        return power_of_two and step < self.settings.auto_interval and step != self._looked_at

    def _whole(self, step: int) -> bool:
        """Whether the weight may rise, too."""
        return (
            self._last is None
            or self.weight == 0.0
            or step - self._last >= self.settings.auto_interval
        )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold for a restarted run to repeat an uninterrupted one."""
        return {"weight": self.weight, "last": self._last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of a checkpoint."""
        self.weight, self._last = state["weight"], state["last"]

    def update(
        self, step: int, base_loss: Tensor, term: Tensor, parameters: Iterable[Tensor]
    ) -> float:
        """Find the weight from both gradients; every rank must call it.

        Args:
            step: the optimiser step.
            base_loss: the supervised loss of the batch, a scalar with a gradient.
            term: the PITC term of weight 1, likewise.
            parameters: of the model.

        Returns:
            the weight; left as it was if one of the gradients is zero or not finite.
        """
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        whole, self._looked_at = self._whole(step), step
        if whole:
            self._last = step
        term_norm = gradient_norm(term, trained)
        assert self.settings.auto_gradient_ratio is not None  # set by the settings themselves
        weight = self.settings.auto_gradient_ratio * gradient_norm(base_loss, trained)
        if term_norm > 0.0 and 0.0 < weight / term_norm < float("inf"):
            weight /= term_norm
            self.weight = weight if whole else min(weight, self.weight)
        return self.weight


def gradient_norm(value: Tensor, parameters: list[Tensor]) -> float:
    """Norm of the gradient of ``value``, averaged over ranks as DistributedDataParallel does."""
    gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    flat = torch.cat(
        [
            torch.zeros_like(parameter).reshape(-1)
            if gradient is None
            else gradient.detach().reshape(-1)
            for gradient, parameter in zip(gradients, parameters, strict=True)
        ]
    )
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(flat)
        flat /= torch.distributed.get_world_size()
    return float(flat.double().norm())
