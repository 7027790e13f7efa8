"""From a residual per structure to a penalty per structure."""

from __future__ import annotations

import torch
from torch import Tensor

from .settings import Settings


def penalty(settings: Settings, residual: Tensor, n_atoms: Tensor) -> Tensor:
    """ℓ(residual), with ``metric`` and ``normalization`` from the settings.

    Args:
        settings: ``metric``, ``normalization`` and ``huber_delta`` are used.
        residual: ``(..., n_structures)`` in eV.
        n_atoms: ``(n_structures,)``.

    Returns:
        ``(..., n_structures)`` in eV² ("mse") or eV ("mae"); "huber" is ½x² up to
        ``huber_delta`` and linear beyond. Per atom with ``normalization="per_atom"``.
    """
    value = residual / n_atoms if settings.normalization == "per_atom" else residual
    if settings.metric == "mse":
        return value.square()
    if settings.metric == "mae":
        return value.abs()
    return torch.nn.functional.huber_loss(
        value, torch.zeros_like(value), reduction="none", delta=settings.huber_delta
    )
