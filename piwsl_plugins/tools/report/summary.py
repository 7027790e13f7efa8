"""``summary.json``: every number of a report under stable keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from . import parts
from .collected import Collected
from .findings import findings, verdicts
from .resampling import Estimate, Ratio, difference, estimate

#: changes when keys change their meaning or go away; new keys may come without a change
SUMMARY_VERSION = 1


def summarise(collected: Collected) -> dict[str, Any]:
    """All numbers of the report.

    Returns:
        the content of ``summary.json``; ``values`` and ``differences`` of a model map the keys of
        the parts' quantities to ``{"value", "low", "high"}``, with the limits of the 95 % interval.
        ``differences`` are against the first model, on the same frames. ``scales`` are the sizes of
        the labels. ``verdicts`` maps the headings of the tables to a sentence, ``findings`` are
        what stands out in all of them.
    """
    quantities = parts.quantities()
    ratios = {name: _ratios(collected, name) for name in collected.models}
    models = {}
    for name, model in collected.models.items():
        values = _estimated(ratios[name], collected) | _single_values(collected, name)
        unknown = values.keys() - quantities.keys()
        if unknown:
            raise ValueError(f"no part has a row for: {', '.join(sorted(unknown))}")
        models[name] = {
            "source": model["source"],
            "kind": model["kind"],
            "values": {key: dataclasses.asdict(values[key]) for key in quantities if key in values},
            "differences": _differences(ratios[name], ratios[collected.baseline], collected)
            if name != collected.baseline
            else {},
            "scales": _scales(collected, name),
            **_details(collected, name),
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
            "notes": [
                *data.get("notes", []),
                *(note for part in parts.PARTS for note in part.notes(collected.of(part), data)),
            ],
            "formulas": sorted(set(data["formula"])),
            "config_types": sorted(set(data["config_type"]) - {""}),
        },
        "quantities": {
            key: {"label": quantity.label, "unit": quantity.unit}
            for key, quantity in quantities.items()
        },
        "baseline": collected.baseline,
        "models": models,
    }
    return {**summary, "verdicts": verdicts(summary), "findings": findings(summary)}


def _ratios(collected: Collected, name: str) -> dict[str, Ratio]:
    """Quantities with an uncertainty from resampling frames (or runs)."""
    found: dict[str, Ratio] = {}
    for part in parts.PARTS:
        results = collected.of(part)
        if results[name]:
            is_first = name == collected.baseline
            found |= part.ratios(results[name], None if is_first else results[collected.baseline])
    return found


def _differences(
    ratios: dict[str, Ratio], first: dict[str, Ratio], collected: Collected
) -> dict[str, dict[str, float]]:
    """Against the first model, where both are of the same frames."""
    resamples, seed = collected.settings["resamples"], collected.settings["seed"]
    return {
        key: dataclasses.asdict(difference(ratio, first[key], resamples, seed))
        for key, ratio in ratios.items()
        if key in first and first[key].numerator.shape == ratio.numerator.shape
    }


def _single_values(collected: Collected, name: str) -> dict[str, Estimate]:
    """Quantities that are no ratio of sums over frames."""
    found: dict[str, Estimate] = {}
    for part in parts.PARTS:
        results = collected.of(part)[name]
        found |= part.values(results) if results else {}
    return found


def _scales(collected: Collected, name: str) -> dict[str, float]:
    """Sizes of the labels, which tell whether an error is large."""
    found: dict[str, float] = {}
    for part in parts.PARTS:
        results = collected.of(part)[name]
        found |= part.scales(results) if results else {}
    return found


def _details(collected: Collected, name: str) -> dict[str, Any]:
    """Numbers that belong to a part of the data, an ε, a scan, a run or a structure."""

    def entries(ratios: Mapping[str, Ratio]) -> dict[str, dict[str, float]]:
        estimates = _estimated(ratios, collected)
        return {key: dataclasses.asdict(estimate) for key, estimate in estimates.items()}

    details: dict[str, Any] = {}
    for part in parts.PARTS:
        details |= part.details(collected.of(part)[name], entries)
    return details


def _estimated(ratios: Mapping[str, Ratio], collected: Collected) -> dict[str, Estimate]:
    resamples, seed = collected.settings["resamples"], collected.settings["seed"]
    return {key: estimate(ratio, resamples, seed) for key, ratio in ratios.items()}
