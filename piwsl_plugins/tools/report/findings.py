"""What stands out in the numbers, in at most six sentences: the first thing a reader sees."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from . import comparison
from .analysis.phonons import UNSTABLE

#: so many things stand out at most
MOST = 6
#: beyond these a model is not conservative (finite differences give about 1e-4)
ASYMMETRY_LIMIT = 0.01
MISMATCH_LIMIT = 0.01
#: an exponent of the PITC residual below this is no pure curvature
EXPONENT_LIMIT = 1.8
#: an energy jump along a scan beyond this is no error of the integration (meV)
JUMP_LIMIT = 10.0
#: a mean energy error beyond this multiple of what element energies leave, and beyond so much
#: (meV/atom), looks like another level of theory
OFFSET_LIMIT, LARGE_OFFSET = 5.0, 10.0
#: slopes nearer to 1 are exact; that of frequencies is the root of that of force constants
FORCE_TOLERANCE, FREQUENCY_TOLERANCE = 0.02, 0.01
#: errors relative to the labels below which a model is praised: of forces, of frequencies
ACCURATE_FORCES, ACCURATE_FREQUENCIES = 0.2, 0.015
#: energies whose error is this much of the scatter of the labels are flat
FLAT = 0.8
#: dynamics that survive a shorter time say nothing (ps)
SHORT_DYNAMICS = 2.0


@dataclasses.dataclass(frozen=True)
class Finding:
    """A sentence on a model; ``kind`` is "good", "bad" or "note", the heaviest stand first."""

    kind: str
    weight: int
    text: str


def findings(summary: dict[str, Any]) -> list[dict[str, str]]:
    """What matters most: at most :data:`MOST` of ``{"model", "kind", "text"}``, in that order."""
    found = [
        (name, finding)
        for name, model in summary["models"].items()
        for several in (
            _labels(model, summary["settings"]),
            _conservative(model),
            _scans(model),
            _dynamics(model),
            _vibrations(model),
            _phonons(model),
            _compared(summary, name),
        )
        for finding in several
    ]
    found.sort(key=lambda item: -item[1].weight)
    return [
        {"model": name, "kind": finding.kind, "text": finding.text}
        for name, finding in found[:MOST]
    ]


def has_flat_energies(model: dict[str, Any]) -> bool:
    """Whether energies tell the frames hardly apart, whatever their constant is."""
    error, scatter = model.get("relative_energy_rmse"), model["scales"].get("energy")
    return error is not None and scatter is not None and error > FLAT * scatter


def relative_error(model: dict[str, Any], key: str, scale: str) -> float:
    """An error over the size of the labels that it is of; infinite if one is not known."""
    size = model["scales"].get(scale)
    error = model["values"].get(key, {"value": math.inf})["value"]
    return error / size if size else math.inf


def reasons_not_conservative(model: dict[str, Any]) -> list[str]:
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


def scan_problems(model: dict[str, Any]) -> list[str]:
    """Scans with energies that are not finite or jump, in words."""
    found = []
    for scan in model["scans"].values():
        if scan["not_finite"]:
            found.append(f"{scan['not_finite']} points of the scan {scan['title']} are not finite")
        if scan["jump"] > JUMP_LIMIT:
            found.append(
                f"along the scan {scan['title']} the energy jumps by {scan['jump']:.3g} meV beyond "
                "what the forces explain"
            )
    return found


def wrong_stability(model: dict[str, Any]) -> list[str]:
    """Crystals that are unstable or stable unlike their reference, in words."""
    return [
        (
            f"{crystal['formula']} is "
            f"{'unstable' if crystal['lowest'] < UNSTABLE else 'stable'}, unlike "
            f"the reference: the lowest frequency is {crystal['lowest']:.2f} THz instead of "
            f"{crystal['lowest_reference']:.2f} THz"
        ).replace("-", "−")
        for crystal in model.get("phonons", [])
        if (crystal["lowest"] < UNSTABLE) != (crystal["lowest_reference"] < UNSTABLE)
    ]


def _labels(model: dict[str, Any], settings: dict[str, Any]) -> Iterator[Finding]:
    values = model["values"]
    flat = has_flat_energies(model)
    if flat:
        yield Finding(
            "bad",
            88,
            f"energies tell the frames hardly apart: without a constant for each element they are "
            f"{model['relative_energy_rmse']:.3g} meV/atom wrong, and labels scatter by "
            f"{model['scales']['energy']:.3g}",
        )
    accurate = relative_error(model, "force_rmse", "force") < ACCURATE_FORCES and not flat
    yield from _slope(values.get("force_slope"), "force slope", "forces", accurate, FORCE_TOLERANCE)
    if _is_off(model, settings):
        yield Finding(
            "note",
            85,
            f"energies are off by {values['energy_mean_error']['value']:.4g} meV/atom on average, "
            f"but by {model['relative_energy_rmse']:.3g} only without a constant for each element; "
            "if model and data are of different levels of theory, use --fit_energy_offset",
        )


def _is_off(model: dict[str, Any], settings: dict[str, Any]) -> bool:
    """Whether energies look like those of another level of theory."""
    mean, rest = model["values"].get("energy_mean_error"), model.get("relative_energy_rmse")
    if mean is None or rest is None or settings["fit_energy_offset"]:
        return False
    return abs(mean["value"]) > max(OFFSET_LIMIT * rest, LARGE_OFFSET)


def _slope(
    slope: dict[str, float] | None, words: str, what: str, accurate: bool, tolerance: float
) -> Iterator[Finding]:
    """A verdict on a slope: on one side of 1 by more than a tolerance, exact, or undetermined."""
    if slope is None or not math.isfinite(slope["low"]):
        return
    low, high = slope["low"], slope["high"]
    text = f"{words} {slope['value']:.3f} [{low:.3f}, {high:.3f}]".replace("-", "−")
    small, large = ("small", "large") if what == "forces" else ("low", "high")
    if high < 1 - tolerance:
        yield Finding("bad", 80, f"{text}: {what} are too {small}, the potential is too soft")
    elif low > 1 + tolerance:
        yield Finding("bad", 80, f"{text}: {what} are too {large}, the potential is too stiff")
    elif low < 1 - tolerance or high > 1 + tolerance:
        sides = [f"{what} too {small}"] * (low < 1 - tolerance) + ["exact"]
        sides += [f"too {large}"] * (high > 1 + tolerance)
        yield Finding("note", 30, f"{text}: undetermined, the interval includes {_or(sides)}")
    elif accurate:
        yield Finding("good", 20, f"{text}: {what} are neither too {small} nor too {large}")


def _or(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]])


def _conservative(model: dict[str, Any]) -> Iterator[Finding]:
    exponent = model["values"].get("pitc_exponent")
    reasons = reasons_not_conservative(model)
    if reasons:
        yield Finding("bad", 100, "not conservative: " + " and ".join(reasons))
    elif exponent is not None and exponent["value"] < EXPONENT_LIMIT:
        yield Finding(
            "bad",
            60,
            f"the PITC residual grows as ε^{exponent['value']:.2f} only: the energy is rough or "
            "noisy at this scale (try --dtype float64)",
        )


def _scans(model: dict[str, Any]) -> Iterator[Finding]:
    problems = scan_problems(model)
    if problems:
        more = f" (and {len(problems) - 1} more of this kind)" if len(problems) > 1 else ""
        yield Finding("bad", 82, problems[0] + more)


def _dynamics(model: dict[str, Any]) -> Iterator[Finding]:
    runs = model["dynamics"]
    failed = [run for run in runs if run["failure"] is not None]
    if failed:
        first = min(failed, key=lambda run: run["survived"])
        where = f"{first['ensemble']} at {first['temperature']:g} K from frame {first['frame']}"
        yield Finding(
            "bad",
            95,
            f"{len(failed)} of {len(runs)} runs of molecular dynamics fail, the first after "
            f"{first['survived']:.3g} ps ({where}): {first['failure']}",
        )
    elif runs and runs[0]["length"] >= SHORT_DYNAMICS:
        length = runs[0]["length"]
        yield Finding(
            "good", 10, f"all {len(runs)} runs of molecular dynamics survive {length:g} ps"
        )


def _vibrations(model: dict[str, Any]) -> Iterator[Finding]:
    values = model["values"]
    if "frequency_slope" not in values:
        return
    share = relative_error(model, "frequency_mae", "frequency")
    accurate = share < ACCURATE_FREQUENCIES and not has_flat_energies(model)
    slope = values["frequency_slope"]
    yield from _slope(slope, "frequency slope", "frequencies", accurate, FREQUENCY_TOLERANCE)
    if share >= ACCURATE_FREQUENCIES and math.isfinite(share):
        yield Finding(
            "note",
            40,
            f"frequencies are {values['frequency_mae']['value']:.3g} cm⁻¹ wrong on average, "
            f"{100 * share:.2g} % of their mean",
        )
    structures = model["vibrations"]
    wrong = [s for s in structures if s["n_imaginary"] != s["n_imaginary_reference"]]
    if wrong:
        first = wrong[0]
        yield Finding(
            "bad",
            62,
            f"{len(wrong)} of {len(structures)} structures have another number of imaginary modes "
            f"than their label, such as label {first['label']} ({first['formula']}): "
            f"{first['n_imaginary']} instead of {first['n_imaginary_reference']}",
        )


def _phonons(model: dict[str, Any]) -> Iterator[Finding]:
    slope = model["values"].get("phonon_slope")
    accurate = relative_error(model, "phonon_mae", "phonon") < ACCURATE_FREQUENCIES
    accurate = accurate and not has_flat_energies(model)
    yield from _slope(slope, "phonon frequency slope", "phonons", accurate, FREQUENCY_TOLERANCE)
    for text in wrong_stability(model):
        yield Finding("bad", 90, text)


def _compared(summary: dict[str, Any], name: str) -> Iterator[Finding]:
    """Errors beside those of the first model: what is better, what worse, what a constant."""
    errors = (comparison.energy_error(summary, name), comparison.FORCE, comparison.STRESS)
    errors += (comparison.DIPOLE, comparison.FREQUENCY, comparison.PHONON)
    changes = [c for error in errors if (c := comparison.change(summary, name, error)) is not None]
    first = summary["baseline"]
    for side, kind, weight, words in (
        (comparison.ABOVE, "bad", 75, f"worse than {first}"),
        (comparison.BELOW, "good", 70, f"better than {first}"),
        (comparison.UNDETERMINED, "note", 25, f"against {first}"),
    ):
        members = [change.text for change in changes if change.kind == side]
        if has_flat_energies(summary["models"][name]) and kind == "good":
            kind = "note"
        if members:
            yield Finding(kind, weight, f"{words}: {'; '.join(members)}")
    words = comparison.constant(summary, name)
    if words and not _is_off(summary["models"][name], summary["settings"]):
        yield Finding("note", 73, f"against {first}: {words}")
