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


LABELS, CONSISTENCY = "Labelled frames", "Consistency and curvature"
SCANS, DYNAMICS, VIBRATIONS, PHONONS = "Scans", "Dynamics", "Vibrations", "Phonons"

QUANTITIES: tuple[Quantity, ...] = (
    Quantity("energy_rmse", "Energy RMSE", "meV/atom", 0.0, LABELS),
    Quantity(
        "energy_rmse_without_mean", "Energy RMSE without the mean error", "meV/atom", 0.0, LABELS
    ),
    Quantity("energy_mae", "Energy MAE", "meV/atom", 0.0, LABELS),
    Quantity("energy_mean_error", "Energy mean error", "meV/atom", 0.0, LABELS),
    Quantity("force_rmse", "Force RMSE", "meV/Å", 0.0, LABELS),
    Quantity("force_mae", "Force MAE", "meV/Å", 0.0, LABELS),
    Quantity("force_slope", "Force slope (< 1: too soft)", "", 1.0, LABELS, 4),
    Quantity("stress_rmse", "Stress RMSE", "meV/Å³", 0.0, LABELS),
    Quantity("stress_mae", "Stress MAE", "meV/Å³", 0.0, LABELS),
    Quantity("dipole_rmse", "Dipole RMSE", "me·Å", 0.0, LABELS),
    Quantity("dipole_mae", "Dipole MAE", "me·Å", 0.0, LABELS),
    Quantity("evaluation_time", "Time per evaluation (median)", "ms", None, LABELS),
    Quantity("pitc_rms", "PITC residual at ε ≈ 0.04 Å, RMS", "meV/atom", None, CONSISTENCY),
    Quantity("pisc_rms", "PISC residual at ε ≈ 0.04 Å, RMS", "meV/atom", None, CONSISTENCY),
    Quantity("pitc_exponent", "PITC exponent in ε", "", None, CONSISTENCY),
    Quantity("pisc_exponent", "PISC exponent in ε", "", None, CONSISTENCY),
    Quantity("curvature_mean", "Mean curvature", "eV/Å²", None, CONSISTENCY),
    Quantity("curvature_ratio", "Curvature relative to the first model", "", None, CONSISTENCY, 4),
    Quantity("jacobian_asymmetry", "Jacobian asymmetry", "", None, CONSISTENCY, 2),
    Quantity("energy_force_mismatch", "Energy–force mismatch", "", None, CONSISTENCY, 2),
    Quantity("scan_mismatch", "Mean |F + dE/dx|", "meV/Å", 0.0, SCANS),
    Quantity("scan_jump", "Largest energy jump", "meV", 0.0, SCANS),
    Quantity("path_energy_rmse", "Relative energy RMSE on labelled paths", "meV", 0.0, SCANS),
    Quantity("path_curvature_slope", "Curvature slope on labelled paths", "", 1.0, SCANS, 4),
    Quantity("nve_drift", "NVE energy drift", "meV/atom/ps", 0.0, DYNAMICS, 2),
    Quantity("nve_fluctuation", "NVE energy fluctuation", "meV/atom", None, DYNAMICS, 2),
    Quantity("survival_fraction", "Runs that survive", "", 1.0, DYNAMICS, 2),
    Quantity("survival_time", "Mean survival time", "ps", math.inf, DYNAMICS),
    Quantity("hessian_rmse", "Hessian RMSE", "eV/Å²", 0.0, VIBRATIONS),
    Quantity("frequency_mae", "Frequency MAE", "cm⁻¹", 0.0, VIBRATIONS),
    Quantity("frequency_slope", "Frequency slope (< 1: too soft)", "", 1.0, VIBRATIONS, 4),
    Quantity("highest_frequency_mae", "Highest frequency, MAE", "cm⁻¹", 0.0, VIBRATIONS),
    Quantity(
        "imaginary_right",
        "Structures with the right number of imaginary modes",
        "",
        1.0,
        VIBRATIONS,
        2,
    ),
    Quantity("zero_point_mae", "Zero-point energy MAE", "meV", 0.0, VIBRATIONS),
    Quantity("free_energy_mae", "Vibrational free energy MAE, 300 K", "meV", 0.0, VIBRATIONS),
    Quantity("phonon_mae", "Phonon frequency MAE over the zone", "THz", 0.0, PHONONS),
    Quantity("phonon_rmse", "Phonon frequency RMSE over the zone", "THz", 0.0, PHONONS),
    Quantity("phonon_slope", "Phonon frequency slope (< 1: too soft)", "", 1.0, PHONONS, 4),
    Quantity("phonon_highest_mae", "Highest phonon frequency, MAE", "THz", 0.0, PHONONS),
    Quantity("stability_right", "Crystals rightly stable or unstable", "", 1.0, PHONONS, 2),
)

BY_KEY = {quantity.key: quantity for quantity in QUANTITIES}


#: rows whose best value may be the luck of a constant, and the row without it
WITH_CONSTANT = {
    "energy_rmse": "energy_rmse_without_mean",
    "energy_mae": "energy_rmse_without_mean",
}


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
