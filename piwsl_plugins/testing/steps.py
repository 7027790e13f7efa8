"""Training steps of a framework, as the hooks of an adapter make them, and their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ase
import torch
from torch import Tensor

from ..labels.hessian_labels import HessianLabel
from ..labels.hessian_lookup import HessianLabels
from ..options.settings import Settings
from ..terms.found import Found
from ..terms.pool import Pool
from ..terms.training import Moment, Training
from .framework import Framework
from .reference import EPOCH, SEED
from .structures import some_gradient


class OneBatch(Pool):
    """A pool that has the same structures for every batch."""

    def __init__(self, batch: Any) -> None:
        """Args: batch: as a ``collate_fn`` makes it."""
        self._batch = batch

    def batch(self, number: int) -> Any:
        """Part of :class:`~piwsl_plugins.terms.pool.Pool`."""
        return self._batch


def settings_for(options: dict[str, Any], forces: bool = True) -> Settings:
    """Settings of a training whose base loss has forces or not.

    Displacements are large, so that rounding of energies is a small part of the residuals.
    """
    return Settings.create({"max_displacement": 0.1, **options}).decided(forces, 1.0)


def run_step(
    framework: Framework,
    structures: Sequence[ase.Atoms],
    settings: Settings,
    labels: Sequence[HessianLabel] = (),
    pool: Sequence[ase.Atoms] = (),
    base_uses_forces: bool = True,
    join: bool | None = None,
) -> Found:
    """One training step's model call, with a pool of which the batch gets all.

    Its supervised loss has the gradient :func:`~.structures.some_gradient`.
    """
    beside = OneBatch(framework.pooled(pool)) if pool else None
    training = Training(settings, HessianLabels(labels), beside, seed=SEED, join=join)
    batch, moment = framework.batch(structures), Moment(EPOCH, 0, 0)

    def gradient() -> Tensor:
        return torch.cat([some_gradient(atoms) for atoms in structures])

    call = training.begin(framework.host, batch, moment, base_uses_forces, gradient)
    return training.end(framework.call(call.inputs, call.forces))


def gradients(framework: Framework, penalties: Sequence[Tensor]) -> list[Tensor]:
    """Of the sum of the means of some penalties."""
    total = torch.stack([value.mean() for value in penalties]).sum()
    found = torch.autograd.grad(total, framework.parameters, allow_unused=True, retain_graph=True)
    return [
        torch.zeros_like(parameter) if gradient is None else gradient
        for gradient, parameter in zip(found, framework.parameters)
    ]


def assert_agree(found: Sequence[Tensor], expected: Sequence[Tensor], rtol: float = 1e-9) -> None:
    """The same to a part in 10⁹, or to a part in 10¹¹ of the largest."""
    scale = max(float(value.detach().abs().max()) for value in expected)
    for first, second in zip(found, expected, strict=True):
        torch.testing.assert_close(first.cpu(), second.cpu(), rtol=rtol, atol=1e-11 * scale)
