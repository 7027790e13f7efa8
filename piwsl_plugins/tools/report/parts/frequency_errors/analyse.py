"""Errors of Hessians, frequencies and vibrational energies, structure by structure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase.data import atomic_masses

from .....labels.hessian_labels import HessianLabel
from ....hessian.frequencies import frequencies
from ...resampling import Estimate, Ratio, proportion
from .stationarity import is_stationary, n_imaginary, thermochemistry


@dataclasses.dataclass(frozen=True)
class StructureModes:
    """A model on one Hessian-labelled structure.

    Attributes:
        label: its number in the file, from 0.
        formula: of the structure.
        squared_error: mean over the elements of the Hessian, in eV²/Å⁴.
        n_elements: of the Hessian.
        reference: frequencies of the label, ``(n_modes,)`` in cm⁻¹ from the lowest; imaginary ones
            are negative.
        model: likewise of the model.
        n_imaginary_reference: number of imaginary modes of the label.
        n_imaginary: likewise of the model.
        zero_point_error: in meV; None unless the structure is stationary in the reference.
        free_energy_error: likewise, at 300 K.
    """

    label: int
    formula: str
    squared_error: float
    n_elements: int
    reference: np.ndarray
    model: np.ndarray
    n_imaginary_reference: int
    n_imaginary: int
    zero_point_error: float | None
    free_energy_error: float | None

    def overview(self) -> dict[str, Any]:
        """The single numbers, for ``summary.json``."""
        return {
            "label": self.label,
            "formula": self.formula,
            "hessian_rmse": float(np.sqrt(self.squared_error)),
            "frequency_mae": float(np.abs(self.model - self.reference).mean()),
            "highest_frequency_error": float(self.model[-1] - self.reference[-1]),
            "n_imaginary": self.n_imaginary,
            "n_imaginary_reference": self.n_imaginary_reference,
            "zero_point_error": self.zero_point_error,
            "free_energy_error": self.free_energy_error,
        }


def modes_of(content: dict[str, Any]) -> StructureModes:
    """From the piece on disk (:func:`.measure.second_derivatives`)."""
    numbers, positions, pbc, *hessians = (
        np.array(content[name]) for name in ("numbers", "positions", "pbc", "reference", "model")
    )
    labels = [HessianLabel(numbers, positions, pbc=pbc, hessian=hessian) for hessian in hessians]
    reference, model = (frequencies(label, atomic_masses[numbers]) for label in labels)
    skip = n_imaginary(reference)
    errors: tuple[float | None, float | None] = (None, None)
    if is_stationary(labels[0], reference):
        ours, theirs = thermochemistry(model, skip), thermochemistry(reference, skip)
        errors = ours[0] - theirs[0], ours[1] - theirs[1]
    return StructureModes(
        content["label"],
        content["formula"],
        float(np.square(hessians[1] - hessians[0]).mean()),
        hessians[0].size,
        reference,
        model,
        skip,
        n_imaginary(model),
        *errors,
    )


def ratios(found: Sequence[StructureModes]) -> dict[str, Ratio]:
    """The quantities over all structures; energies only where some are stationary."""
    n_elements = np.array([v.n_elements for v in found])
    squared = n_elements * [v.squared_error for v in found]
    n_modes = [len(v.reference) for v in found]
    errors = [np.abs(v.model - v.reference) for v in found]
    several = {
        "hessian_rmse": Ratio.over(squared, n_elements, root=True),
        "frequency_mae": Ratio.over([e.sum() for e in errors], n_modes),
        "frequency_slope": Ratio.over(
            [v.model @ v.reference for v in found], [v.reference @ v.reference for v in found]
        ),
        "highest_frequency_mae": Ratio.over([e[-1] for e in errors], 1),
    }
    stationary = [v for v in found if v.zero_point_error is not None]
    if stationary:
        zero_point = np.array([v.zero_point_error for v in stationary], dtype=float)
        free_energy = np.array([v.free_energy_error for v in stationary], dtype=float)
        several["zero_point_mae"] = Ratio.over(np.abs(zero_point), 1)
        several["free_energy_mae"] = Ratio.over(np.abs(free_energy), 1)
    return several


def imaginary_right(found: Sequence[StructureModes]) -> Estimate:
    """Fraction of structures with as many imaginary modes as the label."""
    return proportion([v.n_imaginary == v.n_imaginary_reference for v in found])


def scale(found: Sequence[StructureModes]) -> float:
    """Mean |frequency| of the labels, in cm⁻¹."""
    return float(np.abs(np.concatenate([v.reference for v in found])).mean())
