"""One sentence for each table of a report: what it says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from . import comparison
from .analysis.quantities import CONSISTENCY, DYNAMICS, LABELS, PHONONS, SCANS, VIBRATIONS
from .comparison import Error
from .findings import (
    JUMP_LIMIT,
    SHORT_DYNAMICS,
    has_flat_energies,
    reasons_not_conservative,
    relative_error,
    scan_problems,
)


def verdicts(summary: dict[str, Any]) -> dict[str, str]:
    """A sentence by the heading of each table; one without any has none."""
    found = {section: say(summary) for section, say in _SENTENCES.items()}
    return {section: text for section, text in found.items() if text}


def _labels(summary: dict[str, Any]) -> str:
    models = summary["models"]
    flat = [name for name, model in models.items() if has_flat_energies(model)]
    parts = [
        _against(summary, error)
        for error in (
            comparison.energy_error(summary, next(iter(models))),
            comparison.FORCE,
            comparison.STRESS,
            comparison.DIPOLE,
        )
    ]
    if len(models) == 1:
        parts = [
            _energies(next(iter(models.values()))),
            _share(summary, "force_rmse", "force", "forces"),
        ]
    words = {name: comparison.constant(summary, name) for name in models}
    parts += [f"{name}: {text}" for name, text in words.items() if text]
    if flat:
        parts.append(f"energies of {', '.join(flat)} tell the frames hardly apart")
    return _sentence(parts)


def _consistency(summary: dict[str, Any]) -> str:
    models = {n: m for n, m in summary["models"].items() if "jacobian_asymmetry" in m["values"]}
    broken = [name for name, model in models.items() if reasons_not_conservative(model)]
    if not models:
        return ""
    if broken:
        return _sentence([f"forces are not the gradient of the energy for {', '.join(broken)}"])
    return _sentence(["forces are the gradient of the energy, for every model"])


def _scans(summary: dict[str, Any]) -> str:
    models = {n: m for n, m in summary["models"].items() if m["scans"]}
    rough = [name for name, model in models.items() if scan_problems(model)]
    if not models:
        return ""
    if rough:
        return _sentence([f"energies jump or are not finite along scans of {', '.join(rough)}"])
    return _sentence([f"no energy jumps by more than {JUMP_LIMIT:g} meV along a scan"])


def _dynamics(summary: dict[str, Any]) -> str:
    models = {n: m["dynamics"] for n, m in summary["models"].items() if m["dynamics"]}
    if not models:
        return ""
    failed = {n: sum(run["failure"] is not None for run in runs) for n, runs in models.items()}
    parts = [f"{n} of {len(models[name])} runs of {name} fail" for name, n in failed.items() if n]
    length = next(iter(models.values()))[0]["length"]
    if not parts and length < SHORT_DYNAMICS:
        return _sentence([f"{length:g} ps are too short to tell whether a model is stable"])
    return _sentence(parts or [f"every run survives {length:g} ps"])


def _vibrations(summary: dict[str, Any]) -> str:
    if len(summary["models"]) > 1:
        return _sentence([_against(summary, comparison.FREQUENCY)])
    return _sentence([_share(summary, "frequency_mae", "frequency", "frequencies")])


def _phonons(summary: dict[str, Any]) -> str:
    if len(summary["models"]) > 1:
        return _sentence([_against(summary, comparison.PHONON)])
    return _sentence([_share(summary, "phonon_mae", "phonon", "phonon frequencies")])


#: by heading
_SENTENCES: dict[str, Callable[[dict[str, Any]], str]] = {
    LABELS: _labels,
    CONSISTENCY: _consistency,
    SCANS: _scans,
    DYNAMICS: _dynamics,
    VIBRATIONS: _vibrations,
    PHONONS: _phonons,
}


def _against(summary: dict[str, Any], error: Error) -> str:
    """The change of an error from the first model to each of the others."""
    changes = {name: comparison.change(summary, name, error) for name in summary["models"]}
    words = [f"{name} {change.short}" for name, change in changes.items() if change is not None]
    return f"{error.words} against {summary['baseline']}: {', '.join(words)}" if words else ""


def _energies(model: dict[str, Any]) -> str:
    """The error of a single model without a constant, relative to the scatter of the labels."""
    error, scatter = model.get("relative_energy_rmse"), model["scales"].get("energy")
    if error is None or scatter is None or has_flat_energies(model):
        return ""
    return (
        f"energies without their constant are wrong by {_percent(error / scatter)} of the scatter"
    )


def _share(summary: dict[str, Any], key: str, scale: str, words: str) -> str:
    """The error of a single model, relative to the labels."""
    share = relative_error(next(iter(summary["models"].values())), key, scale)
    return f"{words} are wrong by {_percent(share)} of their size" if math.isfinite(share) else ""


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 1 else "more than 100 %"


def _sentence(parts: list[str]) -> str:
    text = "; ".join(part for part in parts if part)
    return f"{text[0].upper()}{text[1:]}." if text else ""
