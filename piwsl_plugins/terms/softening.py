"""The softening guard: is the potential being flattened? (arXiv 2405.07105)

Judged on validation data, by the slope of predicted on reference forces; where there are no
force labels, by the predicted forces themselves, against those at the start of training.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..options.settings import Settings
from .term_table import weights_of

#: slope below which the potential counts as softened
THRESHOLD = 0.9
#: a pretrained model is judged by its own first force slope if that is at least this
PRETRAINED_SLOPE = 0.5
#: a model has learned its labels once the RMS error is less than this share of the RMS label
LEARNED = 0.5
#: RMS (eV/Å per component) below which labels are those of stationary points, and have no slope:
#: that of a relaxation until no force is larger than 0.05 eV/Å
STATIONARY = 0.03


@dataclasses.dataclass(frozen=True)
class ForceSlope:
    """How steep the potential is on validation data.

    Attributes:
        value: 1 is right, or as at the start; less is softer.
        labelled: whether it is the regression on force labels, <F, F_ref> / <F_ref, F_ref>, or
            the ratio of RMS predicted forces to those at the start.
        error: RMS error over RMS label; nan without labels.
    """

    value: float
    labelled: bool
    error: float = math.nan

    def __str__(self) -> str:
        against = "force labels" if self.labelled else "RMS force at the start of training"
        return f"{self.value:.3f} (against {against})"


@dataclasses.dataclass(frozen=True)
class Forces:
    """The forces of a validation pass; nan where there is nothing.

    Attributes:
        rms: of the predicted ones, in eV/Å per component.
        rms_label: of the labels, likewise.
        slope: of the regression of predicted forces on their labels.
        error: RMS error over RMS label.
    """

    rms: float
    rms_label: float = math.nan
    slope: float = math.nan
    error: float = math.nan


class ForceSums:
    """Sums of a validation pass from which the slope follows."""

    def __init__(self) -> None:
        self._sums = torch.zeros(6, dtype=torch.float64)

    def add(self, forces: Tensor, reference: Tensor | None = None) -> None:
        """Add structures.

        Args:
            forces: predicted, ``(n_atoms, 3)`` in eV/Å.
            reference: labels of all these atoms, likewise, or None if they have none.
        """
        predicted = forces.detach().double()
        count = predicted.new_tensor(float(predicted.numel()))
        parts = [predicted.square().sum(), count]
        if reference is None:
            parts += [torch.zeros_like(count)] * 4
        else:
            labels = reference.detach().double()
            error = (predicted - labels).square().sum()
            parts += [(predicted * labels).sum(), labels.square().sum(), error, count]
        self._sums = self._sums + torch.stack(parts).cpu()

    def take(self, device: torch.device | None = None) -> Forces:
        """What the sums say, over all ranks if ``device`` is given; then start anew.

        Args:
            device: where the ranks exchange tensors; every rank must call this.
        """
        sums, self._sums = self._sums, torch.zeros(6, dtype=torch.float64)
        if device is not None:
            sums = sums.to(device)
            torch.distributed.all_reduce(sums)
        square, count, product, label_square, error, label_count = sums.tolist()
        return Forces(
            rms=math.sqrt(square / count) if count else math.nan,
            rms_label=math.sqrt(label_square / label_count) if label_count else math.nan,
            slope=product / label_square if label_square else math.nan,
            error=math.sqrt(error / label_square) if label_square else math.nan,
        )


class SofteningGuard:
    """Watches the force slope from epoch to epoch, and warns, once.

    Only a model that has been right can get too soft: one whose slope has been at least
    :data:`THRESHOLD` while it had learned its labels, or one trained before this training, judged
    by its start, as it may start softer than the threshold. Without labels nobody knows whether a
    new model has ever been right.
    """

    def __init__(self, pretrained: bool = False) -> None:
        """Args: pretrained: whether the model was trained before."""
        self._pretrained = pretrained
        self._start: float | None = None
        self._limit = -math.inf
        self._first = True
        self._warned = False

    def slope(self, forces: Forces) -> ForceSlope | None:
        """The slope of an epoch; the first one without labels is 1 and sets the scale.

        Labels of stationary points have none: there is no force that could become too small.
        """
        if not math.isnan(forces.rms_label):
            steep = forces.rms_label >= STATIONARY
            return ForceSlope(forces.slope, True, forces.error) if steep else None
        if math.isnan(forces.rms) or forces.rms == 0.0:
            return None
        if self._start is None:
            self._start = forces.rms
        return ForceSlope(forces.rms / self._start, labelled=False)

    def judge(self, slope: ForceSlope) -> str | None:
        """What is wrong with a slope, once, when it is below the limit; else None."""
        learned = slope.error < LEARNED if slope.labelled else self._pretrained
        starts = self._first and (self._pretrained or learned)
        if learned and slope.value >= THRESHOLD:
            self._limit = THRESHOLD
        elif starts and slope.value >= PRETRAINED_SLOPE:
            self._limit = THRESHOLD * slope.value
        self._first = False
        if self._warned or slope.value >= self._limit:
            return None
        self._warned = True
        return (
            f"the force slope on validation data is {slope}, below {self._limit:.3g}: the "
            "potential gets too soft"
        )


def remedy(settings: Settings, option: Callable[[str], str]) -> str:
    """What to do against softening, with those options that are in force.

    Args:
        settings: decided.
        option: gives an option as the user writes it.
    """
    weights = weights_of(settings)
    smaller = [f"{name}_weight" for name in weights]
    if not weights and settings.pool.pool_file is not None:
        smaller.append("pool_weight")
    if weights.keys() - {"hessian"}:
        smaller = [name for name in smaller if name != "hessian_weight"] + ["max_displacement"]
    labels = "" if "hessian" in weights else f", or Hessian labels ({option('hessian_file')})"
    return f"a smaller {' or '.join(map(option, smaller))}{labels}; see docs/method.md"
