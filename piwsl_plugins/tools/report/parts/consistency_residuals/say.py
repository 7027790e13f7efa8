"""What is said of consistency."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...wording import Remark, sentence

#: beyond these a model is not conservative (finite differences give about 1e-4)
ASYMMETRY_LIMIT = 0.01
MISMATCH_LIMIT = 0.01
#: an exponent of the PITC residual below this is no pure curvature
EXPONENT_LIMIT = 1.8


def remarks(model: dict[str, Any]) -> Iterator[Remark]:
    """What stands out of a model."""
    exponent = model["values"].get("pitc_exponent")
    reasons = _reasons_not_conservative(model)
    if reasons:
        yield Remark("bad", 100, "not conservative: " + " and ".join(reasons))
    elif exponent is not None and exponent["value"] < EXPONENT_LIMIT:
        yield Remark(
            "bad",
            60,
            f"the PITC residual grows as ε^{exponent['value']:.2f} only: the energy is rough or "
            "noisy at this scale (try --dtype float64)",
        )


def verdict(summary: dict[str, Any]) -> str:
    """The sentence over the table."""
    models = {n: m for n, m in summary["models"].items() if "jacobian_asymmetry" in m["values"]}
    broken = [name for name, model in models.items() if _reasons_not_conservative(model)]
    if not models:
        return ""
    if broken:
        return sentence([f"forces are not the gradient of the energy for {', '.join(broken)}"])
    return sentence(["forces are the gradient of the energy, for every model"])


def _reasons_not_conservative(model: dict[str, Any]) -> list[str]:
    """Why forces are not the gradient of the energy, in words."""
    checks = (
        ("jacobian_asymmetry", "the Jacobian of the forces is not symmetric", ASYMMETRY_LIMIT),
        ("energy_force_mismatch", "energy differences do not match the forces", MISMATCH_LIMIT),
    )
    values = model["values"]
    return [
        f"{words} ({values[key]['value']:.2g})"
        for key, words, limit in checks
        if key in values and values[key]["value"] > limit
    ]
