"""How much an error of a model differs from that of the first, and whether that can be told."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

#: a change by less, relative to the first model, is none
RELEVANT = 0.05
#: beyond so many times no number is given
MANY = 100

BELOW, ABOVE, SAME, UNDETERMINED = "below", "above", "same", "undetermined"


@dataclasses.dataclass(frozen=True)
class ComparedError:
    """An error that models are compared by: its key in ``values``, words and unit."""

    key: str
    words: str
    unit: str


@dataclasses.dataclass(frozen=True)
class Change:
    """An error of a model beside that of the first.

    Attributes:
        error: which.
        first: value of the first model.
        value: of the model.
        relative: the difference of both over ``first``; infinite if that is 0.
        kind: "below" or "above" where the difference is beyond 5 % and its interval excludes 0,
            "same" where the interval is within 5 % or the difference is, "undetermined" otherwise.
    """

    error: ComparedError
    first: float
    value: float
    relative: float
    kind: str

    @property
    def short(self) -> str:
        """The relative change: −38 %, × 3.2; or what it is instead."""
        if self.kind == UNDETERMINED:
            return "undetermined"
        if self.kind == SAME:
            return f"the same within {100 * RELEVANT:.0f} %"
        if self.relative > MANY:
            return f"more than {MANY} times"
        if self.relative <= 1:
            return f"{100 * self.relative:+.0f} %".replace("-", "−")
        return f"× {1 + self.relative:.2g}"

    @property
    def text(self) -> str:
        """In words, with both values."""
        values = f"{shown(self.first)} → {shown(self.value)} {self.error.unit}"
        return f"{self.error.words} {self.short} ({values})"


def change(summary: dict[str, Any], name: str, error: ComparedError) -> Change | None:
    """An error of model ``name`` beside that of the first model, None where one has none."""
    difference = summary["models"][name]["differences"].get(error.key)
    if difference is None or not math.isfinite(difference["value"]):
        return None
    first = summary["models"][summary["baseline"]]["values"][error.key]["value"]
    value = summary["models"][name]["values"][error.key]["value"]
    scale = first if first > 0 else math.ulp(0.0)
    relative, low, high = (difference[key] / scale for key in ("value", "low", "high"))
    return Change(error, first, value, relative, _kind(relative, low, high))


def shown(value: float) -> str:
    """An error, with three digits."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _kind(relative: float, low: float, high: float) -> str:
    if not math.isfinite(low):
        return UNDETERMINED
    if max(abs(low), abs(high)) < RELEVANT:
        return SAME
    if low <= 0 <= high:
        return UNDETERMINED
    if abs(relative) < RELEVANT:
        return SAME
    return BELOW if relative < 0 else ABOVE
