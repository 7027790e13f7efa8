"""How numbers are put in words: what stands out of a model, slopes, and sentences of verdicts.

What is said is read from the content of ``summary.json``, a model's from its ``models.NAME``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from . import comparison
from .comparison import ComparedError

#: energies whose error is this much of the scatter of the labels are flat
FLAT = 0.8
#: slopes of frequencies nearer to 1 are exact; they are the root of those of force constants
FREQUENCY_TOLERANCE = 0.01
#: errors of frequencies relative to the reference's below which a model is praised
ACCURATE_FREQUENCIES = 0.015


@dataclasses.dataclass(frozen=True)
class Remark:
    """A sentence on a model; ``kind`` is "good", "bad" or "note", the heaviest stand first."""

    kind: str
    weight: int
    text: str


def has_flat_energies(model: dict[str, Any]) -> bool:
    """Whether energies tell the frames hardly apart, whatever their constant is."""
    error, scatter = model.get("relative_energy_rmse"), model["scales"].get("energy")
    return error is not None and scatter is not None and bool(error > FLAT * scatter)


def relative_error(model: dict[str, Any], key: str, scale: str) -> float:
    """An error over the size of the labels that it is of; infinite if one is not known."""
    size = model["scales"].get(scale)
    error = float(model["values"].get(key, {"value": math.inf})["value"])
    return error / size if size else math.inf


def slope_remarks(
    slope: dict[str, float] | None, words: str, what: str, accurate: bool, tolerance: float
) -> Iterator[Remark]:
    """A judgement of a slope: beyond 1 by more than a tolerance, exact, or undetermined.

    Args:
        slope: value and interval, None if there is none.
        words: for the slope.
        what: it is of: "forces" are small or large, all else low or high.
        accurate: whether an exact slope deserves praise, as errors are small.
        tolerance: slopes nearer to 1 are exact.
    """
    if slope is None or not math.isfinite(slope["low"]):
        return
    low, high = slope["low"], slope["high"]
    text = f"{words} {slope['value']:.3f} [{low:.3f}, {high:.3f}]".replace("-", "−")
    small, large = ("small", "large") if what == "forces" else ("low", "high")
    if high < 1 - tolerance:
        yield Remark("bad", 80, f"{text}: {what} are too {small}, the potential is too soft")
    elif low > 1 + tolerance:
        yield Remark("bad", 80, f"{text}: {what} are too {large}, the potential is too stiff")
    elif low < 1 - tolerance or high > 1 + tolerance:
        sides = [f"{what} too {small}"] * (low < 1 - tolerance) + ["exact"]
        sides += [f"too {large}"] * (high > 1 + tolerance)
        yield Remark("note", 30, f"{text}: undetermined, the interval includes {_and(sides)}")
    elif accurate:
        yield Remark("good", 20, f"{text}: {what} are neither too {small} nor too {large}")


def against_the_first(summary: dict[str, Any], error: ComparedError) -> str:
    """The change of an error from the first model to each of the others, "" if none has one."""
    changes = {name: comparison.change(summary, name, error) for name in summary["models"]}
    words = [f"{name} {change.short}" for name, change in changes.items() if change is not None]
    return f"{error.words} against {summary['baseline']}: {', '.join(words)}" if words else ""


def share_of_labels(summary: dict[str, Any], key: str, scale: str, words: str) -> str:
    """The error of a single model, relative to the labels."""
    share = relative_error(next(iter(summary["models"].values())), key, scale)
    return f"{words} are wrong by {percent(share)} of their size" if math.isfinite(share) else ""


def percent(share: float) -> str:
    """A share in percent, if it is less than the whole."""
    return f"{100 * share:.2g} %" if share < 1 else "more than 100 %"


def sentence(clauses: list[str]) -> str:
    """One sentence of clauses, without those that are empty."""
    text = "; ".join(clause for clause in clauses if clause)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _and(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]])
