"""The softening guard: is the potential being flattened? (arXiv 2405.07105)

Judged on validation data, by the slope of predicted on reference forces; where there are no
force labels, by the predicted forces themselves, against those at the start of training.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

#: slope below which the potential counts as softened
THRESHOLD = 0.9
#: a model whose first force slope is at least this is not a random one
PRETRAINED_SLOPE = 0.5


@dataclasses.dataclass(frozen=True)
class ForceSlope:
    """How steep the potential is on validation data.

    Attributes:
        value: 1 is right, or as at the start; less is softer.
        labelled: whether it is the regression on force labels, <F, F_ref> / <F_ref, F_ref>, or
            the ratio of RMS predicted forces to those at the start.
    """

    value: float
    labelled: bool

    def __str__(self) -> str:
        against = "force labels" if self.labelled else "RMS force at the start of training"
        return f"{self.value:.3f} (against {against})"


class ForceSums:
    """Sums of a validation pass from which the slope follows."""

    def __init__(self) -> None:
        self._sums = torch.zeros(4, dtype=torch.float64)

    def add(self, forces: Tensor, reference: Tensor | None = None) -> None:
        """Add structures.

        Args:
            forces: predicted, ``(n_atoms, 3)`` in eV/Å.
            reference: labels of all these atoms, likewise, or None if they have none.
        """
        predicted = forces.detach().double()
        parts = [predicted.square().sum(), predicted.new_tensor(float(predicted.numel()))]
        if reference is None:
            parts += [predicted.new_zeros(()), predicted.new_zeros(())]
        else:
            labels = reference.detach().double()
            parts += [(predicted * labels).sum(), labels.square().sum()]
        self._sums = self._sums + torch.stack(parts).cpu()

    def take(self, device: torch.device | None = None) -> tuple[float, float]:
        """The sums' results, over all ranks if ``device`` is given; then start anew.

        Args:
            device: where the ranks exchange tensors; every rank must call this.

        Returns:
            RMS predicted force (eV/Å) and slope against labels; nan where there are none.
        """
        sums, self._sums = self._sums, torch.zeros(4, dtype=torch.float64)
        if device is not None:
            sums = sums.to(device)
            torch.distributed.all_reduce(sums)
        square, count, product, label_square = sums.tolist()
        rms = math.sqrt(square / count) if count else math.nan
        return rms, product / label_square if label_square else math.nan


class SofteningGuard:
    """Watches the force slope from epoch to epoch, and warns, once.

    The limit is :data:`THRESHOLD` once the slope has been above it. Before that it is this fraction
    of the first slope, as a pretrained model may start softer than the threshold; a first slope
    near 0 is that of a model trained from scratch, for which there is no limit yet.
    """

    def __init__(self, prefix: str = "") -> None:
        """Args: prefix: what precedes an option's name where the user writes it ("--piwsl_")."""
        self.prefix = prefix
        self._start: float | None = None
        self._first: float | None = None
        self._was_right = False
        self._warned = False

    def slope(self, rms_force: float, labelled_slope: float) -> ForceSlope | None:
        """The slope of an epoch; the first one without labels is 1 and sets the scale.

        Args:
            rms_force: RMS predicted force in eV/Å, nan if there was no structure.
            labelled_slope: regression on force labels, nan without labels.
        """
        if not math.isnan(labelled_slope):
            return ForceSlope(labelled_slope, labelled=True)
        if math.isnan(rms_force) or rms_force == 0.0:
            return None
        if self._start is None:
            self._start = rms_force
        return ForceSlope(rms_force / self._start, labelled=False)

    def judge(self, slope: ForceSlope) -> str | None:
        """The warning with its remedy, once, when a slope is below the limit; else None."""
        if self._first is None:
            self._first = slope.value
        self._was_right |= slope.value >= THRESHOLD
        if self._was_right:
            limit = THRESHOLD
        else:
            limit = THRESHOLD * self._first if self._first >= PRETRAINED_SLOPE else -math.inf
        if self._warned or slope.value >= limit:
            return None
        self._warned = True
        return (
            f"PIWSL: the force slope on validation data is {slope}, below {limit:.3g}: the "
            f"potential gets too soft. Remedy: a smaller {self.prefix}pitc_weight or "
            f"{self.prefix}max_displacement, or Hessian labels ({self.prefix}hessian_file); see "
            "docs/method.md"
        )
