"""What a user reads of PIWSL during training: options, means per epoch, and a warning in time.

Numbers and words only; an adapter decides where they are logged.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..options.settings import Settings
from .found import POOL, Found
from .terms import Term

#: share of the base loss above which a term that flattens the potential is reported
#: (docs/method.md, "How much weight a fine-tuned model bears")
DOMINANT_SHARE = 0.1
#: steps of a loop without its loss after which it is warned
N_UNUSED = 5


class EpochStatistics:
    """Sums over the training steps of an epoch; tensors stay on the model's device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, name: str, value: Tensor, count: float = 1.0) -> None:
        """Add a step's value, or a sum over ``count`` of them; NaN, of no label, is left out."""
        entry = torch.stack([value.detach().double(), value.new_tensor(count).double()])
        entry = torch.where(entry[0].isnan(), torch.zeros_like(entry), entry)
        self._sums[name] = self._sums[name] + entry if name in self._sums else entry

    def add_squares(self, name: str, values: Tensor) -> None:
        """Add values of which the root mean square is wanted."""
        self.add(f"{name}_rms", values.double().square().sum(), values.numel())

    def add_term(self, term: str, weighted: Tensor, residual: Tensor) -> None:
        """Add a step's weighted term and its residuals, ``(n,)``."""
        self.add(term, weighted)
        self.add_squares(term, residual)

    def means(self) -> dict[str, float]:
        """Means since the start of the epoch, on this rank.

        Returns:
            means by name, "…_rms" root mean squares; nan where there was nothing.
        """
        means = {}
        for name, entry in self._sums.items():
            total, count = entry.tolist()
            mean = total / count if count else math.nan
            means[name] = mean**0.5 if name.endswith("_rms") else mean
        return means

    def take(self, reduce: bool) -> dict[str, float]:
        """:meth:`means` over all ranks if ``reduce``, then start anew; every rank must call it."""
        if reduce:
            for name in sorted(self._sums):
                torch.distributed.all_reduce(self._sums[name])
        means = self.means()
        self._sums = {}
        return means


def _size(value: float, unit: str) -> str:
    if math.isnan(value):
        return "of no structure"
    return f"{1e3 * value:.2f} m{unit}" if unit == "eV/atom" else f"{value:.3f} {unit}"


def describe(means: Mapping[str, float], terms: Sequence[Term]) -> str:
    """The log line of an epoch: every term by name, from :meth:`EpochStatistics.take`."""
    parts = [f"{name}_loss={means[name]:.4e}" for name in ("base", POOL) if name in means]
    parts += [
        f"{term.name}={means[term.name]:.4e} "
        f"(RMS residual {_size(means[f'{term.name}_rms'], term.unit)})"
        for term in terms
        if term.name in means
    ]
    return ", ".join(parts)


def describe_first_step(means: Mapping[str, float], terms: Sequence[Term]) -> str:
    """The size of the residuals beside the energy error, at the first step."""
    parts = [
        f"RMS {term.name} residual {_size(means[f'{term.name}_rms'], term.unit)}"
        for term in terms
        if term.name in means
    ]
    if "energy_error_rms" in means:
        parts.append(f"energy RMSE {_size(means['energy_error_rms'], 'eV/atom')}")
    return ", ".join(parts)


def dominance_warning(
    means: Mapping[str, float],
    weights: Mapping[str, float],
    terms: Sequence[Term],
    option: Callable[[str], str] = str,
) -> str | None:
    """The warning that a term can flatten the potential, with the remedy, or None.

    Args:
        means: from :class:`EpochStatistics`.
        weights: in force, by term.
        terms: the terms in force.
        option: gives an option as the user writes it.
    """
    for term in terms:
        value = means.get(term.name, 0.0)
        share = value / means["base"] if means["base"] else math.inf
        if term.flattens and value > 0.0 and share > DOMINANT_SHARE:
            weight = option(f"{term.name}_weight")
            smaller = weights[term.name] * DOMINANT_SHARE / share
            remedy = f"{weight}={smaller:.1g}" if share < math.inf else f"a smaller {weight}"
            return (
                f"PIWSL: the term {term.name} is {100 * share:.0f} % of the base loss. The "
                "residual of a true potential is not zero; at this weight training can "
                "flatten the potential to make it so, and forces then become too small "
                "(softening), above all in fine-tuning and without force labels. Watch the force "
                f"error on validation data. Remedy: {remedy}, or a smaller "
                f"{option('max_displacement')} (the term grows with its fourth power, as trapezoid "
                "with its sixth); see docs/method.md"
            )
    return None


@dataclasses.dataclass(frozen=True)
class EpochMeans:
    """Means over the steps of an epoch, or of several; ``str`` is the log's line.

    Attributes:
        means: by name (:meth:`EpochStatistics.means`); empty where nothing acted.
        weights: of the terms, as the user writes them, in the last step in which each acted.
        terms: those that acted.
    """

    means: Mapping[str, float]
    weights: Mapping[str, float]
    terms: Sequence[Term]

    def __str__(self) -> str:
        return describe(self.means, self.terms)


class TrainingLog:
    """The statistics of a training, the line on its first step, and the warning in time.

    Attributes:
        option: gives an option as the user writes it.
    """

    def __init__(
        self,
        inform: Callable[[str], None],
        warn: Callable[[str], None],
        option: Callable[[str], str] = str,
        scale: float = 1.0,
    ) -> None:
        """
        Args:
            inform: writes a line to the framework's log.
            warn: writes a warning.
            option: gives an option as the user writes it.
            scale: by which the weights of a step are multiplied to be those that the user writes.
        """
        self.statistics, self.option = EpochStatistics(), option
        self._inform, self._warn, self._scale = inform, warn, scale
        self._weights: dict[str, float] = {}
        self._reported = self._warned = self._warned_of_unmoved = False

    def add_step(
        self, found: Found, losses: Mapping[str, Tensor], energy_error: Tensor | None = None
    ) -> None:
        """Add a training step.

        Args:
            found: in it.
            losses: weighted, of each term, of "base" and, where it is supervised, of "pool".
            energy_error: errors per atom of the structures with an energy label, in eV.
        """
        for name in ("base", POOL):
            if name in losses:
                self.statistics.add(name, losses[name])
        if energy_error is not None:
            self.statistics.add_squares("energy_error", energy_error)
        for term in found.terms:
            self.statistics.add_term(term.name, losses[term.name], found.residuals[term.name])
            self._weights[term.name] = self._scale * found.weights[term.name]
        if found.terms and not self._reported:
            self._reported = True
            means = self.statistics.means()
            self._inform(f"PIWSL: first training step: {describe_first_step(means, found.terms)}")
            self.judge(means, self._weights, found.terms)

    def warn_of_unmoved(self, n: int) -> None:
        """Warn, once, of structures that adversarial displacements leave where they are.

        Args:
            n: number of them in a step.
        """
        if not self._warned_of_unmoved:
            self._warned_of_unmoved = True
            self._warn(
                f"PIWSL: {n} structures of a training step have no gradient of the supervised "
                f"loss, as without a label that counts; {self.option('displacement')}=adversarial "
                "leaves their atoms where they are, so that PITC is 0 there. Remedy: "
                f"{self.option('displacement')}=atom_norm"
            )

    def take(self, reduce: bool) -> tuple[dict[str, float], dict[str, float]]:
        """Means and weights since the last time, as of :class:`EpochMeans`; then start anew.

        Args:
            reduce: whether over all ranks, of which every one must call this.
        """
        weights, self._weights = self._weights, {}
        return self.statistics.take(reduce), weights

    def judge(
        self, means: Mapping[str, float], weights: Mapping[str, float], terms: Sequence[Term]
    ) -> None:
        """Warn, once, if a term can flatten the potential."""
        warning = dominance_warning(means, weights, terms, self.option) if means else None
        if warning and not self._warned:
            self._warned = True
            self._warn(warning)


def describe_options(settings: Settings) -> list[str]:
    """The options that differ from their defaults, as ``name=value unit``."""
    defaults, options = type(settings)().values(), settings.options()
    lines = []
    for name, value in settings.values().items():
        if value is None or value == defaults[name]:
            continue
        shown = ",".join(value) if isinstance(value, tuple) else value
        unit = f" {options[name].unit}" if options[name].unit else ""
        lines.append(f"{name}={shown}{unit}")
    return lines or ["all as by default"]


class UnusedCalls:
    """Warns, once, of a loop in which nobody asks for the loss of the steps."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        """Args: tell: takes the line."""
        self._tell, self._left = tell, N_UNUSED

    def add(self, found: Found | None) -> None:
        """Take note of a step."""
        if found is None or not found.weights or not self._left:
            return
        self._left -= 1
        if not self._left:
            self._tell(
                f"PIWSL: WARNING: {N_UNUSED} steps with terms or a pool, and piwsl.loss was not "
                "called once, so that they do nothing: take loss = piwsl.loss(batch, output) in "
                "place of your loss"
            )

    def end(self) -> None:
        """Somebody has asked."""
        self._left = 0
