"""What stands out in the numbers, in sentences: the first thing a reader sees."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from .analysis.phonons import UNSTABLE

#: kind and text of each sentence
Sentences = Iterator[tuple[str, str]]

#: beyond these a model is not conservative (finite differences give about 1e-4)
ASYMMETRY_LIMIT = 0.01
MISMATCH_LIMIT = 0.01
#: an exponent of the PITC residual below this is no pure curvature
EXPONENT_LIMIT = 1.8
#: an energy jump along a scan beyond this is no error of the integration (meV)
JUMP_LIMIT = 10.0
#: slopes nearer to 1 than this are exact
ROUNDING = 1e-6
#: a mean energy error beyond this multiple of its scatter looks like another level of theory
OFFSET_LIMIT = 5.0


def findings(summary: dict[str, Any]) -> list[dict[str, str]]:
    """Sentences on each model: ``{"model", "kind", "text"}``, the kind "good", "bad" or "note"."""
    return [
        {"model": name, "kind": kind, "text": text}
        for name, model in summary["models"].items()
        for sentences in (
            _labels(model, summary["settings"]),
            _conservative(model),
            _scans(model),
            _dynamics(model),
            _vibrations(model),
            _phonons(model),
            _compared(model, summary["baseline"]),
        )
        for kind, text in sentences
    ]


def _labels(model: dict[str, Any], settings: dict[str, Any]) -> Sentences:
    slope = model["values"].get("force_slope")
    if slope is not None and math.isfinite(slope["low"]):
        text = f"force slope {slope['value']:.3f} [{slope['low']:.3f}, {slope['high']:.3f}]"
        if slope["high"] < 1:
            yield "bad", f"{text}: forces are too small, the potential is too soft"
        elif slope["low"] > 1:
            yield "bad", f"{text}: forces are too large, the potential is too stiff"
        else:
            yield "good", f"{text}: no sign of softening"
    mean = model["values"].get("energy_mean_error")
    if mean is not None and not settings["fit_energy_offset"]:
        rmse = model["values"]["energy_rmse"]["value"]
        scatter = math.sqrt(max(rmse**2 - mean["value"] ** 2, 0.0))
        if abs(mean["value"]) > OFFSET_LIMIT * max(scatter, 1e-6) and abs(mean["value"]) > 10:
            yield (
                "note",
                f"energies are off by {mean['value']:.4g} meV/atom on average, but scatter by "
                f"{scatter:.3g} only; if model and data are of different levels of theory, use "
                "--fit_energy_offset",
            )


def _conservative(model: dict[str, Any]) -> Sentences:
    values, reasons = model["values"], []
    checks = (
        ("jacobian_asymmetry", "the Jacobian of the forces is not symmetric", ASYMMETRY_LIMIT),
        ("energy_force_mismatch", "energy differences do not match the forces", MISMATCH_LIMIT),
    )
    for key, words, limit in checks:
        if key in values and values[key]["value"] > limit:
            reasons.append(f"{words} ({values[key]['value']:.2g})")
    exponent = values.get("pitc_exponent")
    if reasons:
        yield "bad", "not conservative: " + " and ".join(reasons)
    elif exponent is not None and exponent["value"] < EXPONENT_LIMIT:
        yield (
            "bad",
            f"the PITC residual grows as ε^{exponent['value']:.2f} only: the energy is rough or "
            "noisy at this scale (try --dtype float64)",
        )


def _scans(model: dict[str, Any]) -> Sentences:
    for scan in model["scans"].values():
        if scan["not_finite"]:
            yield "bad", f"{scan['not_finite']} points of the scan {scan['title']} are not finite"
        if scan["jump"] > JUMP_LIMIT:
            yield (
                "bad",
                f"along the scan {scan['title']} the energy jumps by {scan['jump']:.3g} meV beyond "
                "what the forces explain",
            )


def _dynamics(model: dict[str, Any]) -> Sentences:
    runs = model["dynamics"]
    failed = [run for run in runs if run["failure"] is not None]
    if failed:
        first = min(failed, key=lambda run: run["survived"])
        where = f"{first['ensemble']} at {first['temperature']:g} K from frame {first['frame']}"
        yield (
            "bad",
            f"{len(failed)} of {len(runs)} runs of molecular dynamics fail, the first after "
            f"{first['survived']:.3g} ps ({where}): {first['failure']}",
        )
    elif runs:
        length = runs[0]["length"]
        yield "good", f"all {len(runs)} runs of molecular dynamics survive {length:g} ps"


def _vibrations(model: dict[str, Any]) -> Sentences:
    slope = model["values"].get("frequency_slope")
    if slope is None:
        return
    structures = model["vibrations"]
    if math.isfinite(slope["low"]):
        text = f"frequency slope {slope['value']:.3f} [{slope['low']:.3f}, {slope['high']:.3f}]"
        if slope["high"] < 1:
            yield "bad", f"{text}: frequencies are too low, the potential is too soft"
        elif slope["low"] > 1:
            yield "bad", f"{text}: frequencies are too high, the potential is too stiff"
        else:
            yield "good", f"{text}: frequencies are neither too low nor too high on the whole"
    wrong = [s for s in structures if s["n_imaginary"] != s["n_imaginary_reference"]]
    if wrong:
        first = wrong[0]
        yield (
            "bad",
            f"{len(wrong)} of {len(structures)} structures have another number of imaginary modes "
            f"than their label, such as label {first['label']} ({first['formula']}): "
            f"{first['n_imaginary']} instead of {first['n_imaginary_reference']}",
        )


def _phonons(model: dict[str, Any]) -> Sentences:
    slope = model["values"].get("phonon_slope")
    if slope is None:
        return
    text = f"phonon frequency slope {slope['value']:.3f} [{slope['low']:.3f}, {slope['high']:.3f}]"
    if slope["high"] < 1 - ROUNDING:
        yield "bad", f"{text}: phonons are too low, the potential is too soft"
    elif slope["low"] > 1 + ROUNDING:
        yield "bad", f"{text}: phonons are too high, the potential is too stiff"
    for crystal in model["phonons"]:
        lowest, expected = crystal["lowest"], crystal["lowest_reference"]
        if (lowest < UNSTABLE) != (expected < UNSTABLE):
            yield (
                "bad",
                f"{crystal['formula']} is {'unstable' if lowest < UNSTABLE else 'stable'}, unlike "
                f"the reference: the lowest frequency is {lowest:.2f} THz instead of "
                f"{expected:.2f} THz".replace("-", "−"),
            )


def _compared(model: dict[str, Any], baseline: str) -> Sentences:
    for key, words, unit in (
        ("energy_rmse", "energy RMSE", "meV/atom"),
        ("force_rmse", "force RMSE", "meV/Å"),
        ("frequency_mae", "frequency MAE", "cm⁻¹"),
        ("phonon_mae", "phonon frequency MAE", "THz"),
    ):
        change = model["differences"].get(key)
        if change is None or not math.isfinite(change["low"]):
            continue
        numbers = f"{change['value']:+.3g} [{change['low']:+.3g}, {change['high']:+.3g}]"
        text = f"{numbers.replace('-', '−')} {unit}"
        if change["high"] < 0:
            yield "good", f"{words} below that of {baseline}: {text}"
        elif change["low"] > 0:
            yield "bad", f"{words} above that of {baseline}: {text}"
        else:
            yield "note", f"{words} as that of {baseline} within uncertainty: {text}"
