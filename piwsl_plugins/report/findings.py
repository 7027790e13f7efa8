"""What stands out in the numbers, in sentences: the first thing a reader sees."""

from __future__ import annotations

import math
from typing import Any

#: beyond these a model is not conservative (finite differences give about 1e-4)
ASYMMETRY_LIMIT = 0.01
MISMATCH_LIMIT = 0.01
#: an exponent of the PITC residual below this is no pure curvature
EXPONENT_LIMIT = 1.8
#: an energy jump along a scan beyond this is no error of the integration (meV)
JUMP_LIMIT = 10.0
#: a mean energy error beyond this multiple of its scatter looks like another level of theory
OFFSET_LIMIT = 5.0


def findings(summary: dict[str, Any]) -> list[dict[str, str]]:
    """Sentences on each model: ``{"model", "kind", "text"}``, the kind "good", "bad" or "note"."""
    found: list[dict[str, str]] = []
    for name, model in summary["models"].items():
        sentences = [
            *_labels(model, summary["settings"]),
            *_conservative(model),
            *_scans(model),
            *_dynamics(model),
            *_compared(model, summary["baseline"]),
        ]
        found += [{"model": name, "kind": kind, "text": text} for kind, text in sentences]
    return found


def _labels(model: dict[str, Any], settings: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    slope = model["values"].get("force_slope")
    if slope is not None and math.isfinite(slope["low"]):
        text = f"force slope {slope['value']:.3f} [{slope['low']:.3f}, {slope['high']:.3f}]"
        if slope["high"] < 1:
            found.append(("bad", f"{text}: forces are too small, the potential is too soft"))
        elif slope["low"] > 1:
            found.append(("bad", f"{text}: forces are too large, the potential is too stiff"))
        else:
            found.append(("good", f"{text}: no sign of softening"))
    mean = model["values"].get("energy_mean_error")
    if mean is not None and not settings["fit_energy_offset"]:
        rmse = model["values"]["energy_rmse"]["value"]
        scatter = math.sqrt(max(rmse**2 - mean["value"] ** 2, 0.0))
        if abs(mean["value"]) > OFFSET_LIMIT * max(scatter, 1e-6) and abs(mean["value"]) > 10:
            found.append(
                (
                    "note",
                    f"energies are off by {mean['value']:.4g} meV/atom on average, but scatter by "
                    f"{scatter:.3g} only; if model and data are of different levels of theory, "
                    "use --fit-energy-offset",
                )
            )
    return found


def _conservative(model: dict[str, Any]) -> list[tuple[str, str]]:
    values, reasons = model["values"], []
    checks = (
        ("jacobian_asymmetry", "the Jacobian of the forces is not symmetric", ASYMMETRY_LIMIT),
        ("energy_force_mismatch", "energy differences do not match the forces", MISMATCH_LIMIT),
    )
    for key, words, limit in checks:
        if key in values and values[key]["value"] > limit:
            reasons.append(f"{words} ({values[key]['value']:.2g})")
    if reasons:
        return [("bad", "not conservative: " + " and ".join(reasons))]
    exponent = values.get("pitc_exponent")
    if exponent is not None and exponent["value"] < EXPONENT_LIMIT:
        return [
            (
                "bad",
                f"the PITC residual grows as ε^{exponent['value']:.2f} only: the energy is rough "
                "or noisy at this scale (try --dtype float64)",
            )
        ]
    return []


def _scans(model: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    for scan in model["scans"].values():
        if scan["not_finite"]:
            count = scan["not_finite"]
            found.append(("bad", f"{count} points of the scan {scan['title']} are not finite"))
        if scan["jump"] > JUMP_LIMIT:
            found.append(
                (
                    "bad",
                    f"along the scan {scan['title']} the energy jumps by {scan['jump']:.3g} meV "
                    "beyond what the forces explain",
                )
            )
    return found


def _dynamics(model: dict[str, Any]) -> list[tuple[str, str]]:
    runs = model["dynamics"]
    if not runs:
        return []
    failed = [run for run in runs if run["failure"] is not None]
    if not failed:
        length = runs[0]["length"]
        return [("good", f"all {len(runs)} runs of molecular dynamics survive {length:g} ps")]
    first = min(failed, key=lambda run: run["survived"])
    where = f"{first['ensemble']} at {first['temperature']:g} K from frame {first['frame']}"
    return [
        (
            "bad",
            f"{len(failed)} of {len(runs)} runs of molecular dynamics fail, the first after "
            f"{first['survived']:.3g} ps ({where}): {first['failure']}",
        )
    ]


def _compared(model: dict[str, Any], baseline: str) -> list[tuple[str, str]]:
    found = []
    for key, words, unit in (
        ("energy_rmse", "energy RMSE", "meV/atom"),
        ("force_rmse", "force RMSE", "meV/Å"),
    ):
        change = model["differences"].get(key)
        if change is None or not math.isfinite(change["low"]):
            continue
        numbers = f"{change['value']:+.3g} [{change['low']:+.3g}, {change['high']:+.3g}]"
        text = f"{numbers.replace('-', '−')} {unit}"
        if change["high"] < 0:
            found.append(("good", f"{words} below that of {baseline}: {text}"))
        elif change["low"] > 0:
            found.append(("bad", f"{words} above that of {baseline}: {text}"))
        else:
            found.append(("note", f"{words} as that of {baseline} within uncertainty: {text}"))
    return found
