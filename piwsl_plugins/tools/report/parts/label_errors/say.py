"""What is said of the errors on labelled frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...comparison import ABOVE, BELOW, ComparedError, change, shown
from ...wording import (
    Remark,
    against_the_first,
    has_flat_energies,
    percent,
    relative_error,
    sentence,
    share_of_labels,
    slope_remarks,
)

#: a mean energy error beyond this multiple of what element energies leave, and beyond so much
#: (meV/atom), looks like another level of theory
OFFSET_LIMIT, LARGE_OFFSET = 5.0, 10.0
#: force slopes nearer to 1 are exact
FORCE_TOLERANCE = 0.02
#: force errors relative to the labels below which a model is praised
ACCURATE_FORCES = 0.2

#: of energies the part that is no constant
ENERGY = ComparedError("energy_rmse_without_mean", "energy RMSE without the mean error", "meV/atom")
#: the same with the constant, and where element energies were fitted
WHOLE_ENERGY = ComparedError("energy_rmse", "energy RMSE", "meV/atom")
FORCE = ComparedError("force_rmse", "force RMSE", "meV/Å")
STRESS = ComparedError("stress_rmse", "stress RMSE", "meV/Å³")
DIPOLE = ComparedError("dipole_rmse", "dipole RMSE", "me·Å")


def energy_error(summary: dict[str, Any], name: str) -> ComparedError:
    """The error that energies are compared by."""
    return ENERGY if ENERGY.key in summary["models"][name]["values"] else WHOLE_ENERGY


def remarks(summary: dict[str, Any], name: str) -> Iterator[Remark]:
    """What stands out of a model: flat energies, force slope, a constant."""
    model = summary["models"][name]
    values = model["values"]
    flat = has_flat_energies(model)
    if flat:
        yield Remark(
            "bad",
            88,
            f"energies tell the frames hardly apart: without a constant for each element they are "
            f"{model['relative_energy_rmse']:.3g} meV/atom wrong, and labels scatter by "
            f"{model['scales']['energy']:.3g}",
        )
    accurate = relative_error(model, "force_rmse", "force") < ACCURATE_FORCES and not flat
    slope = values.get("force_slope")
    yield from slope_remarks(slope, "force slope", "forces", accurate, FORCE_TOLERANCE)
    if _is_off(model, summary["settings"]):
        rest = model.get("relative_energy_rmse")
        only = (
            "" if rest is None else f", but by {rest:.3g} only without a constant for each element"
        )
        yield Remark(
            "note",
            85,
            f"energies are off by {values['energy_mean_error']['value']:.4g} meV/atom on average"
            f"{only}; if model and data are of different levels of theory, use "
            "--fit_energy_offset; if not, the training may have been too short for energies",
        )
    else:
        words = _constant(summary, name)
        if words:
            yield Remark("note", 73, f"against {summary['baseline']}: {words}")


def verdict(summary: dict[str, Any]) -> str:
    """The sentence over the table."""
    models = summary["models"]
    flat = [name for name, model in models.items() if has_flat_energies(model)]
    clauses = [
        against_the_first(summary, error)
        for error in (energy_error(summary, next(iter(models))), FORCE, STRESS, DIPOLE)
    ]
    if len(models) == 1:
        clauses = [
            _energies(next(iter(models.values()))),
            share_of_labels(summary, "force_rmse", "force", "forces"),
        ]
    words = {name: _constant(summary, name) for name in models}
    clauses += [f"{name}: {text}" for name, text in words.items() if text]
    if flat:
        clauses.append(f"energies of {', '.join(flat)} tell the frames hardly apart")
    return sentence(clauses)


def _is_off(model: dict[str, Any], settings: dict[str, Any]) -> bool:
    """Whether energies look like those of another level of theory."""
    mean, rest = model["values"].get("energy_mean_error"), model.get("relative_energy_rmse")
    if mean is None or settings["fit_energy_offset"]:
        return False
    if rest is None:  # too few frames to tell, unless no bond is worth so much
        from .....frames.energy_scale import IMPOSSIBLE  # numpy, which --help does without

        return bool(abs(mean["value"]) > 1000.0 * IMPOSSIBLE)
    return bool(abs(mean["value"]) > max(OFFSET_LIMIT * rest, LARGE_OFFSET))


def _constant(summary: dict[str, Any], name: str) -> str:
    """Words on an energy RMSE that a constant alone makes lower or higher, or ""."""
    whole, rest = (change(summary, name, error) for error in (WHOLE_ENERGY, ENERGY))
    if whole is None or rest is None or whole.kind not in (BELOW, ABOVE) or whole.kind == rest.kind:
        return ""
    word = "lower" if whole.kind == BELOW else "higher"
    return (
        f"the {word} energy RMSE ({shown(whole.first)} → {shown(whole.value)} meV/atom) is a "
        f"constant: without the mean error {shown(rest.first)} → {shown(rest.value)}"
    )


def _energies(model: dict[str, Any]) -> str:
    """The error of a single model without a constant, relative to the scatter of the labels."""
    error, scatter = model.get("relative_energy_rmse"), model["scales"].get("energy")
    if error is None or scatter is None or has_flat_energies(model):
        return ""
    share = percent(error / scatter)
    return f"energies without their constant are wrong by {share} of the scatter"
