"""Labels in another unit than eV and Å, told by comparing the cheap and the expensive ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...frames.reading import Frame
from ..errors import InputError
from ..labelling import Arrays
from .labels import carried
from .offsets import Offsets

#: what a number in eV or eV/Å is in other units
_ENERGIES = {
    "hartree": 0.0367493,
    "rydberg": 0.0734986,
    "kcal/mol": 23.0605,
    "kJ/mol": 96.4853,
    "meV": 1000.0,
}
_FORCES = {
    "hartree/bohr": 0.0194469,
    "rydberg/bohr": 0.0388938,
    "hartree/Å": 0.0367493,
    "kcal/mol/Å": 23.0605,
    "kJ/mol/Å": 96.4853,
    "meV/Å": 1000.0,
}
#: two methods differ in slope by less, and a unit is told by a ratio that is nearer
_SLOPE, _NEAR = 5.0, 1.5
#: labels of one quantity in two units correlate by more, those of a bad method need not
_CORRELATION = 0.9
#: frames beyond those that the offsets take up
_FEWEST = 4


def require_one_unit(
    frames: Sequence[Frame], cheap: Mapping[str, Arrays], elements: Sequence[int]
) -> None:
    """Refuse labels whose slope on each other is that of another unit, or of the other sign.

    Args:
        frames: with expensive labels.
        cheap: labels of the cheap method by the frames' keys.
        elements: atomic numbers that occur.

    Raises:
        InputError: naming the label and the likely unit.
    """
    _compare(
        "energies", *_energies(frames, cheap, elements), _ENERGIES, len(frames) - len(elements)
    )
    pairs = [
        (carried(frame)["forces"].ravel(), cheap[frame.key]["forces"].ravel())
        for frame in frames
        if frame.forces is not None and "forces" in cheap[frame.key]
    ]
    if pairs:
        expensive, low = (np.concatenate(one) for one in zip(*pairs, strict=True))
        _compare("forces", expensive, low, _FORCES, expensive.size)


def _energies(
    frames: Sequence[Frame], cheap: Mapping[str, Arrays], elements: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Both energies of the frames (eV), less the part that their composition explains."""
    both = (
        [float(f.energy or 0.0) for f in frames],
        [float(cheap[f.key]["energy"]) for f in frames],
    )
    expensive, low = (np.array(e) - Offsets(frames, e, elements)(frames) for e in both)
    return expensive, low


def _compare(
    name: str, expensive: np.ndarray, cheap: np.ndarray, units: Mapping[str, float], freedom: int
) -> None:
    product, norm = float(expensive @ cheap), float(cheap @ cheap)
    size = np.sqrt(norm * float(expensive @ expensive))
    if freedom < _FEWEST or size == 0 or abs(product) < _CORRELATION * size:
        return
    slope = product / norm
    if 1 / _SLOPE < slope < _SLOPE:
        return
    start = f"the {name} of the training frames are {slope:.4g} times those of the cheap method"
    if slope < 0:
        raise InputError(f"{start}: one of them has the wrong sign (gradients are no forces)")
    # in units of the one file, or of the other
    ratios = {("training frames", unit): factor for unit, factor in units.items()}
    ratios |= {("cheap labels", unit): 1 / factor for unit, factor in units.items()}
    (file, unit), ratio = min(ratios.items(), key=lambda item: abs(np.log(item[1] / slope)))
    if abs(np.log(ratio / slope)) < np.log(_NEAR):
        expected = "eV" if name == "energies" else "eV/Å"
        raise InputError(
            f"{start}; likely the {file} are in {unit}; convert all labels to {expected}"
        )
