"""``summary.json``: every number of a report under stable keys."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .analysis import consistency, dynamics, labels, phonons, scans, vibrations
from .analysis.collect import Collected, ModelParts
from .analysis.quantities import BY_KEY, QUANTITIES
from .analysis.statistics import Estimate, Ratio, difference, estimate, proportion
from .findings import findings
from .verdicts import verdicts

#: changes when keys change their meaning or go away; new keys may come without a change
SUMMARY_VERSION = 1


def summarise(collected: Collected) -> dict[str, Any]:
    """All numbers of the report.

    Returns:
        the content of ``summary.json``; ``values`` and ``differences`` of a model map the keys of
        :data:`~.analysis.quantities.QUANTITIES` to ``{"value", "low", "high"}``, with the limits
        of the 95 % interval. ``differences`` are against the first model, on the same frames.
        ``scales`` are the sizes of the labels. ``verdicts`` maps the headings of the tables to a
        sentence, ``findings`` are what stands out in all of them.
    """
    resamples, seed = collected.settings["resamples"], collected.settings["seed"]
    ratios = {name: _ratios(model, collected) for name, model in collected.models.items()}
    models = {}
    for name, model in collected.models.items():
        values = {key: estimate(ratio, resamples, seed) for key, ratio in ratios[name].items()}
        values |= _single_values(model)
        models[name] = {
            "source": model.source,
            "kind": model.kind,
            "values": {key: dataclasses.asdict(values[key]) for key in BY_KEY if key in values},
            "differences": {
                key: dataclasses.asdict(
                    difference(ratio, ratios[collected.baseline][key], resamples, seed)
                )
                for key, ratio in ratios[name].items()
                if name != collected.baseline and _comparable(ratio, ratios, collected, key)
            },
            "scales": _scales(model),
            **_details(model, resamples, seed),
        }
    data = collected.index["data"]
    summary = {
        "format": "piwsl-report",
        "version": SUMMARY_VERSION,
        "created": collected.index["created"],
        "software": collected.index["software"],
        "settings": collected.settings,
        "data": {
            "files": data["files"],
            "digest": data["digest"],
            "frames": len(data["energy"]),
            "atoms": sum(len(numbers) for numbers in data["numbers"]),
            "isolated_atoms_left_out": data["n_isolated_atoms"],
            "notes": [*data.get("notes", []), *_without_dipole(collected)],
            "formulas": sorted(set(data["formula"])),
            "config_types": sorted(set(data["config_type"]) - {""}),
        },
        "quantities": {
            quantity.key: {"label": quantity.label, "unit": quantity.unit}
            for quantity in QUANTITIES
        },
        "baseline": collected.baseline,
        "models": models,
    }
    return {**summary, "verdicts": verdicts(summary), "findings": findings(summary)}


def _without_dipole(collected: Collected) -> list[str]:
    """A line on models that give no dipole for frames that have one."""
    if all(dipole is None for dipole in collected.index["data"]["dipole"]):
        return []
    names = [
        name
        for name, model in collected.models.items()
        if model.predicted is not None
        and all(error is None for error in model.predicted.dipole_error)
    ]
    return [f"dipole is not measured for {', '.join(names)}: no answer has one"] if names else []


def _ratios(model: ModelParts, collected: Collected) -> dict[str, Ratio]:
    """Quantities with an uncertainty from resampling frames (or runs)."""
    found: dict[str, Ratio] = {}
    if model.predicted is not None:
        found |= labels.overall(model.predicted)
    if model.measured is not None:
        found |= consistency.ratios(model.measured)
        first = collected.models[collected.baseline].measured
        if first is not None and first is not model.measured:
            ratio = consistency.curvature_ratio(model.measured, first)
            found |= {} if ratio is None else {"curvature_ratio": ratio}
    if model.runs:
        found |= dynamics.ratios(model.runs)
    if model.vibrations:
        found |= vibrations.ratios(model.vibrations)
    if model.phonons:
        found |= phonons.ratios(model.phonons)
    return found


def _comparable(
    ratio: Ratio, ratios: dict[str, dict[str, Ratio]], collected: Collected, key: str
) -> bool:
    first = ratios[collected.baseline].get(key)
    return first is not None and first.numerator.shape == ratio.numerator.shape


def _single_values(model: ModelParts) -> dict[str, Estimate]:
    """Quantities that are no ratio of sums over frames."""
    found: dict[str, Estimate] = {}
    if model.seconds:
        found["evaluation_time"] = Estimate(1000 * float(np.median(model.seconds)))
    if model.measured is not None:
        for name, residual in (("pitc", model.measured.pitc), ("pisc", model.measured.pisc)):
            fit = consistency.exponent(model.measured.epsilon, residual)
            found[f"{name}_exponent"] = fit
    if model.scans:
        smooth = [scans.smoothness(scan) for scan in model.scans.values()]
        found["scan_mismatch"] = Estimate(float(np.mean([s["mismatch"] for s in smooth])))
        found["scan_jump"] = Estimate(float(np.max([s["jump"] for s in smooth])))
        labelled = [scans.against_labels(scan) for scan in model.scans.values()]
        for key in ("path_energy_rmse", "path_curvature_slope"):
            several = [ratios[key] for ratios in labelled if key in ratios]
            if several:
                found[key] = Estimate(_pooled(several).value)
    if model.runs:
        found["survival_fraction"] = dynamics.surviving(model.runs)
    if model.vibrations:
        right = [v.n_imaginary == v.n_imaginary_reference for v in model.vibrations]
        found["imaginary_right"] = proportion(right)
    if model.phonons:
        right = [p.model.is_unstable == p.reference.is_unstable for p in model.phonons]
        found["stability_right"] = proportion(right)
    return found


def _scales(model: ModelParts) -> dict[str, float]:
    """Sizes of the labels, which tell whether an error is large: meV/atom, meV/Å, cm⁻¹, THz."""
    found = {} if model.predicted is None else labels.scales(model.predicted)
    if model.vibrations:
        found["frequency"] = vibrations.scale(model.vibrations)
    if model.phonons:
        found["phonon"] = phonons.scale(model.phonons)
    return found


def _pooled(several: list[Ratio]) -> Ratio:
    return Ratio(
        np.concatenate([ratio.numerator for ratio in several]),
        np.concatenate([ratio.denominator for ratio in several]),
        several[0].root,
    )


def _details(model: ModelParts, resamples: int, seed: int) -> dict[str, Any]:
    """Numbers that belong to a part of the data, an ε, a scan, a run or a structure."""

    def entries(ratios: dict[str, Ratio]) -> dict[str, Any]:
        return {key: dataclasses.asdict(estimate(r, resamples, seed)) for key, r in ratios.items()}

    details: dict[str, Any] = {}
    if model.predicted is not None:
        details["energy_offset_eV"] = model.predicted.offset
        details["relative_energy_rmse"] = labels.relative_energy_rmse(model.predicted)
        details["by_config_type"] = {
            kind: {"frames": count, **entries(ratios)}
            for kind, count, ratios in labels.by_config_type(model.predicted)
        }
        details["by_element"] = {
            symbol: {"atoms": count, **entries(ratios)}
            for symbol, count, ratios in labels.by_element(model.predicted)
        }
        details["force_slope_by_magnitude"] = [
            {"mean_force": mean, "largest_force": top, **entries({"force_slope": ratio})}
            for mean, top, ratio in labels.slope_by_magnitude(model.predicted)
        ]
    if model.measured is not None:
        pitc, pisc = consistency.rms(model.measured.pitc), consistency.rms(model.measured.pisc)
        details["consistency"] = [
            {"epsilon": float(epsilon), **entries({"pitc_rms": first, "pisc_rms": second})}
            for epsilon, first, second in zip(model.measured.epsilon, pitc, pisc, strict=True)
        ]
    details["scans"] = {
        name: {
            "title": scan["title"],
            **scans.smoothness(scan),
            **{key: ratio.value for key, ratio in scans.against_labels(scan).items()},
        }
        for name, scan in model.scans.items()
    }
    details["dynamics"] = [
        {
            key: run[key]
            for key in ("ensemble", "temperature", "frame", "seed", "length", "survived", "failure")
        }
        | {"drift": dynamics.drift(run) if run["ensemble"] == "nve" else None}
        for run in model.runs
    ]
    if model.vibrations:
        details["vibrations"] = [found.overview() for found in model.vibrations]
    if model.phonons:
        details["phonons"] = [found.overview() for found in model.phonons]
    return details
