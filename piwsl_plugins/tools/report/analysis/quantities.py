"""The quantities of the summary table: stable key, words, unit, and which value is better."""

from __future__ import annotations

import dataclasses
import math

from .statistics import Estimate


@dataclasses.dataclass(frozen=True)
class Quantity:
    """One row of the summary table.

    Attributes:
        key: stable name in ``summary.json``.
        label: for people.
        unit: of value, interval and difference; empty if there is none.
        ideal: the best possible value, or None where no value is better than another.
        section: heading under which it stands.
        digits: significant digits shown.
    """

    key: str
    label: str
    unit: str
    ideal: float | None
    section: str
    digits: int = 3


_LABELS, _CONSISTENCY = "Labelled frames", "Consistency and curvature"
_SCANS, _DYNAMICS, _VIBRATIONS, _PHONONS = "Scans", "Dynamics", "Vibrations", "Phonons"

QUANTITIES: tuple[Quantity, ...] = (
    Quantity("energy_rmse", "Energy RMSE", "meV/atom", 0.0, _LABELS),
    Quantity("energy_mae", "Energy MAE", "meV/atom", 0.0, _LABELS),
    Quantity("energy_mean_error", "Energy mean error", "meV/atom", 0.0, _LABELS),
    Quantity("force_rmse", "Force RMSE", "meV/Å", 0.0, _LABELS),
    Quantity("force_mae", "Force MAE", "meV/Å", 0.0, _LABELS),
    Quantity("force_slope", "Force slope (< 1: too soft)", "", 1.0, _LABELS, 4),
    Quantity("stress_rmse", "Stress RMSE", "meV/Å³", 0.0, _LABELS),
    Quantity("stress_mae", "Stress MAE", "meV/Å³", 0.0, _LABELS),
    Quantity("evaluation_time", "Time per evaluation (median)", "ms", None, _LABELS),
    Quantity("pitc_rms", "PITC residual at ε ≈ 0.04 Å, RMS", "meV/atom", None, _CONSISTENCY),
    Quantity("pisc_rms", "PISC residual at ε ≈ 0.04 Å, RMS", "meV/atom", None, _CONSISTENCY),
    Quantity("pitc_exponent", "PITC exponent in ε", "", None, _CONSISTENCY),
    Quantity("pisc_exponent", "PISC exponent in ε", "", None, _CONSISTENCY),
    Quantity("curvature_mean", "Mean curvature", "eV/Å²", None, _CONSISTENCY),
    Quantity("curvature_ratio", "Curvature relative to the first model", "", None, _CONSISTENCY, 4),
    Quantity("jacobian_asymmetry", "Jacobian asymmetry", "", None, _CONSISTENCY, 2),
    Quantity("energy_force_mismatch", "Energy–force mismatch", "", None, _CONSISTENCY, 2),
    Quantity("scan_mismatch", "Mean |F + dE/dx|", "meV/Å", 0.0, _SCANS),
    Quantity("scan_jump", "Largest energy jump", "meV", 0.0, _SCANS),
    Quantity("path_energy_rmse", "Relative energy RMSE on labelled paths", "meV", 0.0, _SCANS),
    Quantity("path_curvature_slope", "Curvature slope on labelled paths", "", 1.0, _SCANS, 4),
    Quantity("nve_drift", "NVE energy drift", "meV/atom/ps", 0.0, _DYNAMICS, 2),
    Quantity("nve_fluctuation", "NVE energy fluctuation", "meV/atom", None, _DYNAMICS, 2),
    Quantity("survival_fraction", "Runs that survive", "", 1.0, _DYNAMICS, 2),
    Quantity("survival_time", "Mean survival time", "ps", math.inf, _DYNAMICS),
    Quantity("hessian_rmse", "Hessian RMSE", "eV/Å²", 0.0, _VIBRATIONS),
    Quantity("frequency_mae", "Frequency MAE", "cm⁻¹", 0.0, _VIBRATIONS),
    Quantity("frequency_slope", "Frequency slope (< 1: too soft)", "", 1.0, _VIBRATIONS, 4),
    Quantity("highest_frequency_mae", "Highest frequency, MAE", "cm⁻¹", 0.0, _VIBRATIONS),
    Quantity(
        "imaginary_right",
        "Structures with the right number of imaginary modes",
        "",
        1.0,
        _VIBRATIONS,
        2,
    ),
    Quantity("zero_point_mae", "Zero-point energy MAE", "meV", 0.0, _VIBRATIONS),
    Quantity("free_energy_mae", "Vibrational free energy MAE, 300 K", "meV", 0.0, _VIBRATIONS),
    Quantity("phonon_mae", "Phonon frequency MAE over the zone", "THz", 0.0, _PHONONS),
    Quantity("phonon_rmse", "Phonon frequency RMSE over the zone", "THz", 0.0, _PHONONS),
    Quantity("phonon_slope", "Phonon frequency slope (< 1: too soft)", "", 1.0, _PHONONS, 4),
    Quantity("phonon_highest_mae", "Highest phonon frequency, MAE", "THz", 0.0, _PHONONS),
    Quantity("stability_right", "Crystals rightly stable or unstable", "", 1.0, _PHONONS, 2),
)

BY_KEY = {quantity.key: quantity for quantity in QUANTITIES}


def best(quantity: Quantity, values: dict[str, Estimate]) -> set[str]:
    """Names of the models with the best value, as far as shown digits tell them apart.

    Empty where no value is better than another, or where there is but one model.
    """
    finite = {name: e.value for name, e in values.items() if math.isfinite(e.value)}
    if quantity.ideal is None or len(finite) < 2:
        return set()
    if math.isinf(quantity.ideal):
        distance = {name: -value for name, value in finite.items()}
    else:
        distance = {name: abs(value - quantity.ideal) for name, value in finite.items()}
    shortest = min(distance.values())
    shown = f"{shortest:.{quantity.digits}g}"
    chosen = {n for n, value in distance.items() if f"{value:.{quantity.digits}g}" == shown}
    return chosen if len(chosen) < len(finite) else set()
