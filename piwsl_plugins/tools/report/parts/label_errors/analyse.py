"""Errors on the labelled frames, and the force slope."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from .....frames.element_energies import ElementEnergies, compositions
from ...part import Estimated
from ...resampling import Estimate, Ratio

#: number of groups of equal size into which atoms are sorted by the size of their force
MAGNITUDE_GROUPS = 6
#: energies that scatter by less, relative to their size, are all alike
ROUNDING = 1e-9
#: so many frames more than elements leave something over when element energies are fitted
FREE_FRAMES = 4


@dataclasses.dataclass(frozen=True)
class Predicted:
    """Labels and predictions of one model, in meV, meV/Å, meV/Å³ and me·Å.

    Attributes:
        numbers: atomic numbers of each frame.
        config_type: of each frame.
        energy: label per atom, ``(n_frames,)``.
        energy_error: error per atom, without the fitted offset, ``(n_frames,)``.
        forces: labels, ``(n_atoms, 3)`` for each frame; None for data without forces.
        force_error: likewise.
        stress: labels, ``(6,)`` or None for each frame.
        stress_error: likewise.
        dipole_error: ``(3,)``, or None where label or answer is missing.
        offset: fitted offset of each element in eV, or None.
        seconds: that each frame took.
    """

    numbers: list[np.ndarray]
    config_type: list[str]
    energy: np.ndarray
    energy_error: np.ndarray
    forces: list[np.ndarray] | None
    force_error: list[np.ndarray] | None
    stress: list[np.ndarray | None]
    stress_error: list[np.ndarray | None]
    dipole_error: list[np.ndarray | None]
    offset: dict[str, float] | None
    seconds: list[float]


def compare(reference: dict[str, Any], result: dict[str, Any], fit_offset: bool) -> Predicted:
    """Put labels and predictions side by side.

    Args:
        reference: from :func:`piwsl_plugins.tools.report.frame_set.reference`.
        result: from :func:`.measure.predictions`.
        fit_offset: whether one energy per element, fitted to the errors by least squares, is
            taken off.
    """
    numbers = [np.asarray(frame) for frame in reference["numbers"]]
    n_atoms = np.array([len(frame) for frame in numbers])
    label = np.array(reference["energy"])
    error = np.array(result["energy"]) - label
    offset = None
    if fit_offset:
        error, offset = _without_offset(error, numbers)
    forces = force_error = None
    if all(frame is not None for frame in reference["forces"]):
        forces = [1000 * np.asarray(frame) for frame in reference["forces"]]
        predicted = [1000 * np.asarray(frame) for frame in result["forces"]]
        force_error = [p - f for p, f in zip(predicted, forces, strict=True)]
    stress: list[np.ndarray | None] = []
    stress_error: list[np.ndarray | None] = []
    for known, found in zip(reference["stress"], result["stress"], strict=True):
        both = known is not None and found is not None
        stress.append(1000 * np.asarray(known) if both else None)
        stress_error.append(1000 * (np.asarray(found) - np.asarray(known)) if both else None)
    dipole_error = [
        None if known is None or found is None else 1000 * (np.asarray(found) - np.asarray(known))
        for known, found in zip(reference["dipole"], result["dipole"], strict=True)
    ]
    return Predicted(
        numbers=numbers,
        config_type=reference["config_type"],
        energy=1000 * label / n_atoms,
        energy_error=1000 * error / n_atoms,
        forces=forces,
        force_error=force_error,
        stress=stress,
        stress_error=stress_error,
        dipole_error=dipole_error,
        offset=offset,
        seconds=result["seconds"],
    )


def overall(predicted: Predicted) -> dict[str, Ratio]:
    """The quantities over all frames."""
    found = _energy_ratios(predicted)
    if predicted.offset is not None:
        # nothing is left of it but rounding
        del found["energy_mean_error"], found["energy_rmse_without_mean"]
    if predicted.forces is not None:
        everything = [np.ones(len(frame), dtype=bool) for frame in predicted.numbers]
        found |= _force_ratios(predicted, everything)
    errors = [error for error in predicted.stress_error if error is not None]
    if errors:
        found["stress_rmse"] = Ratio.over([np.sum(e**2) for e in errors], 6, root=True)
        found["stress_mae"] = Ratio.over([np.sum(np.abs(e)) for e in errors], 6)
    errors = [error for error in predicted.dipole_error if error is not None]
    if errors:
        found["dipole_rmse"] = Ratio.over([np.sum(e**2) for e in errors], 3, root=True)
        found["dipole_mae"] = Ratio.over([np.sum(np.abs(e)) for e in errors], 3)
    return found


def by_config_type(predicted: Predicted) -> Iterator[tuple[str, int, dict[str, Ratio]]]:
    """Name, number of frames and quantities of each ``config_type``, if there are several."""
    kinds = sorted(set(predicted.config_type))
    for kind in kinds if len(kinds) > 1 else []:
        members = np.array([other == kind for other in predicted.config_type])
        found = {name: _only(r, members) for name, r in _energy_ratios(predicted).items()}
        if predicted.forces is not None:
            masks = [
                np.full(len(frame), member)
                for frame, member in zip(predicted.numbers, members, strict=True)
            ]
            found |= {
                name: _only(r, members) for name, r in _force_ratios(predicted, masks).items()
            }
        yield kind or "(none)", int(members.sum()), found


def by_element(predicted: Predicted) -> Iterator[tuple[str, int, dict[str, Ratio]]]:
    """Symbol, number of atoms and force quantities of each element."""
    from ase.data import chemical_symbols

    if predicted.forces is None:
        return
    for number in np.unique(np.concatenate(predicted.numbers)):
        masks = [frame == number for frame in predicted.numbers]
        count = sum(int(mask.sum()) for mask in masks)
        yield chemical_symbols[number], count, _force_ratios(predicted, masks)


def slope_by_magnitude(predicted: Predicted) -> Iterator[tuple[float, float, Ratio]]:
    """Mean |F| and largest |F| (meV/Å) of equally many atoms each, with their force slope."""
    if predicted.forces is None:
        return
    sizes = [np.linalg.norm(frame, axis=1) for frame in predicted.forces]
    pooled = np.concatenate(sizes)
    edges = np.quantile(pooled, np.linspace(0, 1, MAGNITUDE_GROUPS + 1))
    for low, high in itertools.pairwise(edges):
        masks = [(size >= low) & ((size < high) | (high == edges[-1])) for size in sizes]
        inside = pooled[np.concatenate(masks)]
        if len(inside):
            yield float(inside.mean()), float(high), _force_ratios(predicted, masks)["force_slope"]


def evaluation_time(predicted: Predicted) -> Estimate:
    """Median over the frames, in ms."""
    return Estimate(1000 * float(np.median(predicted.seconds)))


def details(predicted: Predicted, estimated: Estimated) -> dict[str, Any]:
    """Numbers that belong to a part of the frames or atoms, for ``summary.json``."""
    return {
        "energy_offset_eV": predicted.offset,
        "relative_energy_rmse": relative_energy_rmse(predicted),
        "by_config_type": {
            kind: {"frames": count, **estimated(ratios)}
            for kind, count, ratios in by_config_type(predicted)
        },
        "by_element": {
            symbol: {"atoms": count, **estimated(ratios)}
            for symbol, count, ratios in by_element(predicted)
        },
        "force_slope_by_magnitude": [
            {"mean_force": mean, "largest_force": top, **estimated({"force_slope": ratio})}
            for mean, top, ratio in slope_by_magnitude(predicted)
        ],
    }


def scales(predicted: Predicted) -> dict[str, float]:
    """The sizes of the labels, to which errors are relative.

    Returns:
        ``energy``: scatter of the labels in meV/atom, less what composition explains; missing where
        that is nearly everything. ``force``: root mean square of the components in meV/Å.
    """
    found = {}
    scatter = _without_elements(predicted, predicted.energy)
    if scatter is not None and scatter > ROUNDING * np.abs(predicted.energy).max():
        found["energy"] = scatter
    if predicted.forces is not None:
        found["force"] = float(np.sqrt(np.mean(np.concatenate(predicted.forces) ** 2)))
    return found


def relative_energy_rmse(predicted: Predicted) -> float | None:
    """Energy RMSE in meV/atom without one constant for each element; None for few frames."""
    return _without_elements(predicted, predicted.energy_error)


def _without_elements(predicted: Predicted, energies: np.ndarray) -> float | None:
    """Root mean square of energies (per atom) without what element energies explain of them."""
    n_atoms = np.array([len(frame) for frame in predicted.numbers])
    n_elements = len(np.unique(np.concatenate(predicted.numbers)))
    if len(n_atoms) < n_elements + FREE_FRAMES:
        return None
    rest, _ = _without_offset(energies * n_atoms, predicted.numbers)
    return float(np.sqrt(np.mean((rest / n_atoms) ** 2)))


def _energy_ratios(predicted: Predicted) -> dict[str, Ratio]:
    """Errors with their mean and without: the mean of all frames, which is one constant."""
    error = predicted.energy_error
    return {
        "energy_rmse": Ratio.over(error**2, 1, root=True),
        "energy_rmse_without_mean": Ratio.over((error - error.mean()) ** 2, 1, root=True),
        "energy_mae": Ratio.over(np.abs(error), 1),
        "energy_mean_error": Ratio.over(error, 1),
    }


def _force_ratios(predicted: Predicted, masks: list[np.ndarray]) -> dict[str, Ratio]:
    """Over the atoms of ``masks``; the slope is that of a line through the origin."""
    assert predicted.forces is not None and predicted.force_error is not None
    labels = [f[m] for f, m in zip(predicted.forces, masks, strict=True)]
    errors = [e[m] for e, m in zip(predicted.force_error, masks, strict=True)]
    count = [error.size for error in errors]
    square = [np.sum(label**2) for label in labels]
    product = [np.sum(f * (f + e)) for f, e in zip(labels, errors, strict=True)]
    return {
        "force_rmse": Ratio.over([np.sum(e**2) for e in errors], count, root=True),
        "force_mae": Ratio.over([np.sum(np.abs(e)) for e in errors], count),
        "force_slope": Ratio.over(product, square),
    }


def _only(ratio: Ratio, members: np.ndarray) -> Ratio:
    return Ratio(ratio.numerator[members], ratio.denominator[members], ratio.root)


def _without_offset(
    error: np.ndarray, numbers: list[np.ndarray]
) -> tuple[np.ndarray, dict[str, float]]:
    """Errors (eV) less the least-squares sum of element offsets (of least norm if undetermined)."""
    from ase.data import chemical_symbols

    elements = np.unique(np.concatenate(numbers))
    counts = compositions(numbers, elements)
    offsets = ElementEnergies(counts, error)
    named = {chemical_symbols[z]: float(o) for z, o in zip(elements, offsets.energies, strict=True)}
    return error - offsets(counts), named
