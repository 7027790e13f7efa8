"""Means, roots and slopes over frames, and their uncertainty by resampling frames.

Every number of the report is a ratio of sums over frames, or its root: an RMSE is
√(Σ squared errors / Σ components), a slope Σxy / Σx². Frames are the unit of resampling, as the
components of one frame are not independent.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest, bootstrap

#: of all intervals
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Ratio:
    """Σ ``numerator`` / Σ ``denominator`` over frames, or its square root.

    Attributes:
        numerator: ``(n_frames,)``.
        denominator: ``(n_frames,)``.
        root: whether the square root is taken.
    """

    numerator: np.ndarray
    denominator: np.ndarray
    root: bool = False

    @classmethod
    def over(cls, numerator: Any, denominator: Any, root: bool = False) -> Ratio:
        """From sequences of numbers."""
        top, bottom = np.asarray(numerator, float), np.asarray(denominator, float)
        return cls(top, np.broadcast_to(bottom, top.shape).copy(), root)

    def of_sums(self, top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
        """The value from the two sums."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio: np.ndarray = top / bottom
        root: np.ndarray = np.sqrt(ratio) if self.root else ratio
        return root

    @property
    def value(self) -> float:
        """The value over all frames; NaN if there is nothing to divide by."""
        return float(self.of_sums(self.numerator.sum(), self.denominator.sum()))


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A value and its confidence interval; the interval is NaN for fewer than three frames."""

    value: float
    low: float = math.nan
    high: float = math.nan

    def scaled(self, factor: float) -> Estimate:
        """In another unit (``factor`` above 0)."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


def estimate(ratio: Ratio, resamples: int, seed: int) -> Estimate:
    """Value with its bias-corrected and accelerated bootstrap interval over frames."""

    def statistic(top: np.ndarray, bottom: np.ndarray, axis: int) -> np.ndarray:
        return ratio.of_sums(top.sum(axis=axis), bottom.sum(axis=axis))

    return _bootstrap(ratio.value, (ratio.numerator, ratio.denominator), statistic, resamples, seed)


def difference(new: Ratio, old: Ratio, resamples: int, seed: int) -> Estimate:
    """``new`` − ``old``, resampling the frames of both together (paired)."""

    def statistic(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray, axis: int) -> Any:
        sums = [x.sum(axis=axis) for x in (a, b, c, d)]
        return new.of_sums(*sums[:2]) - old.of_sums(*sums[2:])

    samples = (new.numerator, new.denominator, old.numerator, old.denominator)
    return _bootstrap(new.value - old.value, samples, statistic, resamples, seed)


def proportion(outcomes: Sequence[bool]) -> Estimate:
    """Fraction that is true, with Wilson's interval, which is honest where all are alike."""
    count, number = sum(map(bool, outcomes)), len(outcomes)
    interval = binomtest(count, number).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(count / number, float(interval.low), float(interval.high))


def _bootstrap(
    value: float, samples: tuple[np.ndarray, ...], statistic: Any, resamples: int, seed: int
) -> Estimate:
    if len(samples[0]) < 3 or not math.isfinite(value):
        return Estimate(value)
    with warnings.catch_warnings():
        # identical frames have no spread; scipy then warns and answers NaN
        warnings.simplefilter("ignore")
        found = bootstrap(
            samples,
            statistic,
            n_resamples=resamples,
            paired=True,
            vectorized=True,
            confidence_level=CONFIDENCE,
            method="BCa",
            rng=np.random.default_rng(seed),
        )
    spread = found.bootstrap_distribution
    if np.ptp(spread[np.isfinite(spread)]) <= 1e-12 * max(abs(value), 1e-300):
        return Estimate(value, value, value)
    return Estimate(value, *(float(limit) for limit in found.confidence_interval))
