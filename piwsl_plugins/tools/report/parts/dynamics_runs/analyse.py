"""Energy drift and survival of the runs of one model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import CensoredData, ecdf, linregress

from ...resampling import Estimate, Ratio, proportion


def drift(run: dict[str, Any]) -> float:
    """Slope of the total energy against time, in meV per atom and ps; NaN below 3 records."""
    if len(run["time"]) < 3:
        return float("nan")
    energy = 1000 * np.array(run["energy"]) / run["n_atoms"]
    return float(linregress(run["time"], energy).slope)


def fluctuation(run: dict[str, Any]) -> float:
    """Standard deviation of the total energy about its drift, in meV per atom."""
    if len(run["time"]) < 3:
        return float("nan")
    energy = 1000 * np.array(run["energy"]) / run["n_atoms"]
    fit = linregress(run["time"], energy)
    return float(np.std(energy - fit.slope * np.array(run["time"])))


def ratios(runs: Sequence[dict[str, Any]]) -> dict[str, Ratio]:
    """Means over runs: drift and fluctuation of the NVE runs that survive, survival time of all."""
    found = {"survival_time": Ratio.over([run["survived"] for run in runs], 1)}
    nve = [run for run in runs if run["ensemble"] == "nve" and run["failure"] is None]
    nve = [run for run in nve if len(run["time"]) >= 3]
    if nve:
        found["nve_drift"] = Ratio.over([drift(run) for run in nve], 1)
        found["nve_fluctuation"] = Ratio.over([fluctuation(run) for run in nve], 1)
    return found


def surviving(runs: Sequence[dict[str, Any]]) -> Estimate:
    """Fraction of runs that reached their end, with Wilson's interval."""
    return proportion([run["failure"] is None for run in runs])


def survival_curve(runs: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Time (ps) and Kaplan–Meier estimate of the fraction alive, as a step function."""
    failed = [run["survived"] for run in runs if run["failure"] is not None]
    ended = [run["survived"] for run in runs if run["failure"] is None]
    found = ecdf(CensoredData(uncensored=failed, right=ended)).sf
    last = max(failed + ended)
    times = np.concatenate([[0.0], found.quantiles, [last]])
    return times, np.concatenate([[1.0], found.probabilities, found.probabilities[-1:]])


def overview(run: dict[str, Any]) -> dict[str, Any]:
    """What became of a run, for ``summary.json``."""
    names = ("ensemble", "temperature", "frame", "seed", "length", "survived", "failure")
    return {
        **{name: run[name] for name in names},
        "drift": drift(run) if run["ensemble"] == "nve" else None,
    }
