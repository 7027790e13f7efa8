"""Correction models trained before: whether they can be what they are said to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...errors import InputError
from ...frames.reading import Frame, elements_of
from ..calculators import CalculatorSource
from ..loaded_calculators import load
from ..runs import Arrays
from .frame_labels import difference, root_mean_squares
from .offsets import Offsets

#: cut-off radii (Å) nearer than this are one
_SAME = 1e-6
#: a model of a method is wrong by less than this share of its labels
_EXPLAINS = 0.5


def require_one_cutoff(
    sources: Sequence[CalculatorSource], frames: Sequence[Frame], device: str
) -> None:
    """Refuse models of different cut-off radii, whose spread would be that of their settings.

    Args:
        sources: the models; those without a cut-off that is known are passed over.
        frames: structures that they are for.
        device: torch device.

    Raises:
        InputError: naming two of them, or for a model that cannot be loaded.
    """
    cutoffs: dict[str, float] = {}
    for source in sources:
        calculator = load(source, elements_of(frames), device).calculator_for(
            frames[0].atoms, frames[0].where
        )
        holders = [calculator, *getattr(calculator, "transforms", [])]
        known = [holder.r_max for holder in holders if getattr(holder, "r_max", None) is not None]
        if known:
            cutoffs[source.source] = float(known[0])
    first = next(iter(cutoffs), "")
    for name, cutoff in cutoffs.items():
        if abs(cutoff - cutoffs[first]) > _SAME:
            raise InputError(
                f"--corrections: {first} has a cut-off of {cutoffs[first]:g} Å, {name} one of "
                f"{cutoff:g} Å; models that differ in more than data and seed tell nothing by "
                "their spread"
            )


def require_correction(
    model: str, labels: Mapping[str, Arrays], frames: Sequence[Frame], cheap: Mapping[str, Arrays]
) -> None:
    """Refuse a model that says what the expensive method does, instead of the correction.

    Args:
        model: its name.
        labels: cheap ones plus what it says, by the frames' keys.
        frames: with expensive labels.
        cheap: labels of the cheap method.

    Raises:
        InputError: if what it says explains the expensive labels, better than the correction.
    """
    as_correction = _errors(labels, frames)
    alone = {frame.key: difference(labels[frame.key], cheap[frame.key]) for frame in frames}
    nothing = {key: {n: 0.0 * value for n, value in said.items()} for key, said in alone.items()}
    as_model, unexplained = _errors(alone, frames), _errors(nothing, frames)
    name = "forces" if "forces" in as_correction else "energy"
    if as_model[name] < min(as_correction[name], _EXPLAINS * unexplained[name]):
        raise InputError(
            f"--corrections: what {model} says is nearer to the expensive labels than to their "
            "difference from the cheap ones, so that it is a model of the expensive method itself, "
            "and not of the correction"
        )


def _errors(labels: Mapping[str, Arrays], frames: Sequence[Frame]) -> dict[str, float]:
    """Root mean square errors of labels, offsets taken off."""
    errors = [
        {
            name: value - getattr(frame, name)
            for name, value in labels[frame.key].items()
            if getattr(frame, name) is not None
        }
        for frame in frames
    ]
    energies = np.array([float(error["energy"]) for error in errors])
    rest = energies - Offsets(frames, energies.tolist(), elements_of(frames))(frames)
    for error, energy in zip(errors, rest, strict=True):
        error["energy"] = energy
    return root_mean_squares(errors, frames)
