"""A quantity of the summary table: stable key, words, unit, and which value is better."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .resampling import Estimate


@dataclasses.dataclass(frozen=True)
class Quantity:
    """One row of the summary table.

    Attributes:
        key: stable name in ``summary.json``.
        label: for people.
        unit: of value, interval and difference; empty if there is none.
        ideal: the best possible value, or None where no value is better than another.
        digits: significant digits shown.
        without_constant: key of the quantity without a constant that the best value may owe its
            place to.
    """

    key: str
    label: str
    unit: str
    ideal: float | None
    digits: int = 3
    without_constant: str = ""


def best(quantity: Quantity, values: dict[str, Estimate]) -> set[str]:
    """Names of the models with the best value, as far as shown digits tell them apart.

    Empty where no value is better than another, or where there is but one model.
    """
    finite = {name: e.value for name, e in values.items() if math.isfinite(e.value)}
    if quantity.ideal is None or len(finite) < 2:
        return set()
    if math.isinf(quantity.ideal):
        distance = {name: -value for name, value in finite.items()}
    else:
        distance = {name: abs(value - quantity.ideal) for name, value in finite.items()}
    shortest = min(distance.values())
    shown = f"{shortest:.{quantity.digits}g}"
    chosen = {n for n, value in distance.items() if f"{value:.{quantity.digits}g}" == shown}
    return chosen if len(chosen) < len(finite) else set()
