"""The gradient of the supervised loss by the positions, for adversarial displacements."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: gives that of a step's batch, ``(n_atoms, 3)`` in units of the loss per Å
LossGradient = Callable[[], Tensor]


def gradient_by_positions(loss: Callable[[Tensor], Tensor], positions: Tensor) -> Tensor:
    """The gradient of a loss, as it is needed in the middle of a training step.

    Parameters get no gradient, no graph stays, and torch's random numbers go on as without it.

    Args:
        loss: a scalar, differentiable in the positions that it is called with.
        positions: ``(n_atoms, 3)`` in Å.

    Returns:
        ``(n_atoms, 3)``; 0 where the loss does not depend on an atom, NaN where it is NaN.
    """
    positions = positions.detach().clone().requires_grad_(True)
    devices = [positions.device] if positions.is_cuda else []
    with torch.enable_grad(), torch.random.fork_rng(devices):
        value = loss(positions)
    if not value.requires_grad:
        return torch.zeros_like(positions)
    (gradient,) = torch.autograd.grad(value, positions, allow_unused=True)
    return torch.zeros_like(positions) if gradient is None else gradient
