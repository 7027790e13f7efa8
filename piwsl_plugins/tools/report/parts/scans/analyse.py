"""Smoothness along scans, and agreement with labels where a path has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...resampling import Estimate, Ratio


@dataclasses.dataclass(frozen=True)
class FollowedScan:
    """A model along one scan; see :func:`.measure.follow`. What is not finite is NaN.

    Attributes:
        name: of the scan.
        title: for people.
        axis: what the coordinate is, with its unit.
        coordinate: ``(n_points,)`` in Å.
        energy: ``(n_points,)`` in eV.
        force: along the scan, ``(n_points,)`` in eV/Å.
        work: of the forces from point to point, ``(n_points - 1,)`` in eV.
        length: of the steps, ``(n_points - 1,)`` in Å.
        label: energy of each point in eV, None without; None for a scan without labels.
    """

    name: str
    title: str
    axis: str
    coordinate: np.ndarray
    energy: np.ndarray
    force: np.ndarray
    work: np.ndarray
    length: np.ndarray
    label: list[float | None] | None

    def smoothness(self) -> dict[str, float]:
        """How smooth the model is.

        Returns:
            ``mismatch``: mean |F + dE/dx| over the intervals between points (meV/Å);
            ``jump``: largest energy change of an interval that the forces do not explain (meV);
            ``flips``: sign changes of the force along the path; ``not_finite``: points without a
            finite energy and force, which are left out.
        """
        unexplained = np.diff(self.energy) + self.work
        per_length = np.abs(unexplained) / self.length
        finite = np.isfinite(per_length)
        signs = np.sign(self.force[np.isfinite(self.force) & (self.force != 0)])
        return {
            "mismatch": 1000 * float(per_length[finite].mean()) if finite.any() else np.nan,
            "jump": 1000 * float(np.abs(unexplained[finite]).max()) if finite.any() else np.nan,
            "flips": int(np.sum(signs[1:] != signs[:-1])),
            "not_finite": int(np.sum(~(np.isfinite(self.energy) & np.isfinite(self.force)))),
        }

    def against_labels(self) -> dict[str, Ratio]:
        """Agreement with the labels of a path: none if a point has no label.

        Returns:
            ``path_energy_rmse``: of energies relative to the first frame (meV);
            ``path_barrier_error``: difference of the highest relative energies (meV);
            ``path_curvature_slope``: slope of the model's d²E/dx² against the labels', both from
            finite differences. Points, not frames, are summed over.
        """
        if self.label is None or any(value is None for value in self.label):
            return {}
        expected, own = (
            1000 * (e - e[0]) for e in (np.array(self.label, dtype=float), self.energy)
        )
        ratios = {
            "path_energy_rmse": Ratio.over((own - expected)[1:] ** 2, 1, root=True),
            "path_barrier_error": Ratio.over([own.max() - expected.max()], 1),
        }
        if (np.diff(self.coordinate) > 0).all():
            wanted, found = (_curvature(self.coordinate, energy) for energy in (expected, own))
            ratios["path_curvature_slope"] = Ratio.over(wanted * found, wanted**2)
        return ratios

    def overview(self) -> dict[str, Any]:
        """The single numbers, for ``summary.json``."""
        labelled = {key: ratio.value for key, ratio in self.against_labels().items()}
        return {"title": self.title, **self.smoothness(), **labelled}


def followed(name: str, content: dict[str, Any]) -> FollowedScan:
    """From the piece on disk (:func:`.measure.follow`)."""
    arrays = {
        key: np.array(content[key], dtype=float)
        for key in ("coordinate", "energy", "force", "work", "length")
    }
    return FollowedScan(
        name=name, title=content["title"], axis=content["axis"], label=content["label"], **arrays
    )


def values(scans: Sequence[FollowedScan]) -> dict[str, Estimate]:
    """The quantities of one model over all scans."""
    smooth = [scan.smoothness() for scan in scans]
    found = {
        "scan_mismatch": Estimate(float(np.mean([s["mismatch"] for s in smooth]))),
        "scan_jump": Estimate(float(np.max([s["jump"] for s in smooth]))),
    }
    labelled = [scan.against_labels() for scan in scans]
    for key in ("path_energy_rmse", "path_curvature_slope"):
        several = [ratios[key] for ratios in labelled if key in ratios]
        if several:
            found[key] = Estimate(_pooled(several).value)
    return found


def _pooled(several: list[Ratio]) -> Ratio:
    return Ratio(
        np.concatenate([ratio.numerator for ratio in several]),
        np.concatenate([ratio.denominator for ratio in several]),
        several[0].root,
    )


def _curvature(x: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Second derivative at the inner points of an uneven grid."""
    slope, centre = np.diff(energy) / np.diff(x), 0.5 * (x[1:] + x[:-1])
    curvature: np.ndarray = np.diff(slope) / np.diff(centre)
    return curvature
