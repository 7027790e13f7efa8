"""How errors that are weighed as errors of forces grow into a penalty.

A base loss that grows linearly with large errors would be drowned, at the same weight, by a term
that grows with their square: the term takes the shape of the base loss.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import torch
from torch import Tensor


class Penalty(Protocol):
    """What becomes of errors; ``str`` says it in words."""

    def __call__(self, error: Tensor) -> Tensor:
        """Of errors ``(n, k)`` in eV/Å the penalties: ``(n, k)``, or ``(n,)`` of each row."""


def mean_penalty(penalties: Tensor) -> Tensor:
    """The mean, 0 of none."""
    return penalties.sum() / max(penalties.numel(), 1)


class Squares:
    """The square of each component, as in a mean squared error."""

    def __call__(self, error: Tensor) -> Tensor:
        """``(n, k)``."""
        return error.square()

    def __str__(self) -> str:
        return "by their squares"


@dataclasses.dataclass(frozen=True)
class Huber:
    """The Huber loss of each component: half its square up to ``delta`` (eV/Å), then linear."""

    delta: float

    def __call__(self, error: Tensor) -> Tensor:
        """``(n, k)``."""
        return torch.nn.functional.huber_loss(
            error, torch.zeros_like(error), reduction="none", delta=self.delta
        )

    def __str__(self) -> str:
        return f"by the Huber loss, linear above {self.delta:g} eV/Å"


class Norms:
    """The length of each row, linear throughout."""

    def __call__(self, error: Tensor) -> Tensor:
        """``(n,)``."""
        norm: Tensor = torch.linalg.vector_norm(error, dim=-1)
        return norm

    def __str__(self) -> str:
        return "by their length"
