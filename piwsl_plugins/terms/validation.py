"""What is watched on validation data: the force slope, and held-out Hessian labels.

Neither takes part in model selection.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch

from ..labels.hessian_lookup import HessianLabels
from ..options.settings import Settings
from .host import Batch, Host, Output
from .softening import ForceSlope, ForceSums, SofteningGuard
from .step import Step
from .term_table import hessian_term


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a validation has found.

    Attributes:
        slope: the force slope, or None.
        hessian_rms: error of the held-out Hessian labels in eV/Å², or None.
    """

    slope: ForceSlope | None
    hessian_rms: float | None

    def __str__(self) -> str:
        parts = [f"force slope {self.slope}"] if self.slope else []
        if self.hessian_rms is not None:
            parts.append(f"RMS error of held-out Hessians {self.hessian_rms:.3f} eV/Å²")
        return ", ".join(parts)


class ValidationWatch:
    """Collects from a validation, over all its batches and ranks, and judges at its end."""

    def __init__(
        self,
        settings: Settings,
        guarded: bool,
        labels: HessianLabels | None = None,
        pretrained: bool = False,
    ) -> None:
        """
        Args:
            settings: decided.
            guarded: whether the force slope is watched.
            labels: Hessian labels of validation structures.
            pretrained: whether the model was trained before.
        """
        self._guard = SofteningGuard(pretrained) if guarded else None
        self._forces = ForceSums()
        self._seed = settings.run.seed or 0
        self._term = None if labels is None else hessian_term(settings.hessian, labels)
        self._squares = torch.zeros(2, dtype=torch.float64)

    def add(self, host: Host, batch: Batch, output: Output) -> None:
        """Add a batch.

        Args:
            host: the model as it is validated.
            batch: with force labels, where there are any.
            output: the model's, with forces.
        """
        forces = host.read(output).forces
        if self._guard is not None and forces is not None:
            structures = host.describe(batch)
            carry = torch.from_numpy(np.repeat(structures.carry, structures.sizes))
            carry, labels = carry.to(forces.device), host.force_labels(batch)
            if labels is None:
                labels = torch.full_like(forces, torch.nan)
            known = labels.isfinite().all(dim=-1)
            self._forces.add(forces[carry & known], labels[carry & known])
            self._forces.add(forces[carry & ~known])
        if self._term is not None:
            # always as in epoch 0: the same displacements in every validation
            step = Step(host, [self._term], batch, None, self._seed, 0, True, join=False)
            error = step.finish(output).residuals[self._term.name].detach().double()
            sums = torch.stack([error.square().sum(), error.new_tensor(error.numel())])
            self._squares = self._squares + sums.cpu()

    def take(self, device: torch.device | None = None) -> tuple[Finding, str | None]:
        """What the validation found, and what is wrong with it, if anything; then start anew.

        Args:
            device: where ranks exchange tensors, if there are several; all must call this.
        """
        slope = problem = rms = None
        if self._guard is not None:
            slope = self._guard.slope(self._forces.take(device))
            problem = self._guard.judge(slope) if slope else None
        if self._term is not None:
            sums, self._squares = self._squares, torch.zeros(2, dtype=torch.float64)
            if device is not None:
                sums = sums.to(device)
                torch.distributed.all_reduce(sums)
            square, count = sums.tolist()
            rms = math.sqrt(square / count) if count else None
        return Finding(slope, rms), problem
