"""Smoothness along scans, and agreement with labels where a path has them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .statistics import Ratio


def smoothness(result: dict[str, Any]) -> dict[str, float]:
    """How smooth a model is along one scan.

    Returns:
        ``mismatch``: mean |F + dE/dx| over the intervals between points (meV/Å);
        ``jump``: largest energy change of an interval that the forces do not explain (meV);
        ``flips``: sign changes of the force along the path; ``not_finite``: points without a
        finite energy and force, which are left out.
    """
    energy = np.array(result["energy"], dtype=float)
    force = np.array(result["force"], dtype=float)
    unexplained = np.diff(energy) + np.array(result["work"], dtype=float)
    per_length = np.abs(unexplained) / np.array(result["length"], dtype=float)
    finite = np.isfinite(per_length)
    signs = np.sign(force[np.isfinite(force) & (force != 0)])
    return {
        "mismatch": 1000 * float(per_length[finite].mean()) if finite.any() else np.nan,
        "jump": 1000 * float(np.abs(unexplained[finite]).max()) if finite.any() else np.nan,
        "flips": int(np.sum(signs[1:] != signs[:-1])),
        "not_finite": int(np.sum(~(np.isfinite(energy) & np.isfinite(force)))),
    }


def against_labels(result: dict[str, Any]) -> dict[str, Ratio]:
    """Agreement with the labels of a path: none if a point has no label.

    Returns:
        ``path_energy_rmse``: of energies relative to the first frame (meV);
        ``path_barrier_error``: difference of the highest relative energies (meV);
        ``path_curvature_slope``: slope of the model's d²E/dx² against the labels', both from
        finite differences. Points, not frames, are summed over.
    """
    label = result["label"]
    if label is None or any(value is None for value in label):
        return {}
    x = np.array(result["coordinate"], dtype=float)
    known, found = (np.array(e, dtype=float) for e in (label, result["energy"]))
    known, found = 1000 * (known - known[0]), 1000 * (found - found[0])
    ratios = {
        "path_energy_rmse": Ratio.over((found - known)[1:] ** 2, 1, root=True),
        "path_barrier_error": Ratio.over([found.max() - known.max()], 1),
    }
    if (np.diff(x) > 0).all():
        expected, own = _curvature(x, known), _curvature(x, found)
        ratios["path_curvature_slope"] = Ratio.over(expected * own, expected**2)
    return ratios


def _curvature(x: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Second derivative at the inner points of an uneven grid."""
    slope, centre = np.diff(energy) / np.diff(x), 0.5 * (x[1:] + x[:-1])
    return np.diff(slope) / np.diff(centre)
