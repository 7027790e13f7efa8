"""What is said of molecular dynamics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...wording import Remark, sentence

#: dynamics that survive a shorter time say nothing (ps)
SHORT_DYNAMICS = 2.0


def remarks(model: dict[str, Any]) -> Iterator[Remark]:
    """What stands out of a model."""
    runs = model["dynamics"]
    failed = [run for run in runs if run["failure"] is not None]
    if failed:
        first = min(failed, key=lambda run: run["survived"])
        where = f"{first['ensemble']} at {first['temperature']:g} K from frame {first['frame']}"
        yield Remark(
            "bad",
            95,
            f"{len(failed)} of {len(runs)} runs of molecular dynamics fail, the first after "
            f"{first['survived']:.3g} ps ({where}): {first['failure']}",
        )
    elif runs and runs[0]["length"] >= SHORT_DYNAMICS:
        length = runs[0]["length"]
        yield Remark(
            "good", 10, f"all {len(runs)} runs of molecular dynamics survive {length:g} ps"
        )


def verdict(summary: dict[str, Any]) -> str:
    """The sentence over the table."""
    models = {n: m["dynamics"] for n, m in summary["models"].items() if m["dynamics"]}
    if not models:
        return ""
    failed = {n: sum(run["failure"] is not None for run in runs) for n, runs in models.items()}
    clauses = [f"{n} of {len(models[name])} runs of {name} fail" for name, n in failed.items() if n]
    length = next(iter(models.values()))[0]["length"]
    if not clauses and length < SHORT_DYNAMICS:
        return sentence([f"{length:g} ps are too short to tell whether a model is stable"])
    return sentence(clauses or [f"every run survives {length:g} ps"])
