"""Labels and positions in another unit than eV and Å, told from what they are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import InputError
from ..frames.element_energies import ElementEnergies, compositions
from ..frames.energy_scale import IMPOSSIBLE
from ..frames.reading import Frame

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
_STRESSES = {
    "GPa": 160.21766,
    "kbar": 1602.1766,
    "hartree/bohr³": 0.0054457,
    "rydberg/bohr³": 0.0108914,
}
#: what a dipole in e·Å is in other units
_DIPOLES = {"debye": 4.80320, "e·bohr": 1.889726}
#: dipoles are of another unit if they correlate by more, with a slope as near to that of the unit
_DIPOLE_CORRELATION, _DIPOLE_NEAR = 0.95, 1.1
#: what a length in Å is in other units
_LENGTHS = {"bohr": 1.889726, "nm": 0.1}
#: what is wrong where a sign is, and how labels are called
_SIGNS = {
    "energy": "energies of binding are positive, total energies are not",
    "forces": "gradients are no forces",
    "stress": "ASE's stress is −virial / volume; VASP and others have the other sign",
}
_WORDS = {"energy": "the energies", "forces": "the forces", "stress": "the stresses"}
_UNITS = {"energy": "eV", "forces": "eV/Å", "stress": "eV/Å³"}
#: two methods differ in slope by less, and a unit is told by a ratio that is nearer
_SLOPE, _NEAR = 5.0, 1.5
#: labels of one quantity in two units correlate by more, those of a bad method need not
_CORRELATION = 0.9
#: frames beyond those that the offsets take up
_FEWEST = 4
#: H, B, C, N, O, F, Si, P, S, Cl: elements that have a covalent bond in nearly every structure
_BONDED = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17)
#: distances to the nearest neighbour over the sum of covalent radii: in Å the shorter ones of a
#: file are within these bounds, in bohr and nm none are
_SHORTEST, _LONGEST = 0.4, 1.55
#: neighbours are looked for up to these, one after the other: a dense crystal in nm has thousands
#: within the last
_REACHES = (0.2, 1.1, 2.2)
#: of all nearest neighbours, so many are nearer than the one that is judged
_NEARER = 0.1
#: frames of which the distances are looked at
_MEASURED = 100


def require_angstrom(frames: Sequence[Frame]) -> None:
    """Refuse positions whose nearest neighbours are at the distances of bonds in another unit.

    Args:
        frames: of one file.

    Raises:
        InputError: naming a frame and the likely unit.
    """
    ratios = np.concatenate([np.zeros(0), *(_nearest(f) for f in frames[:: _every(frames)])])
    if not len(ratios):
        return
    ratio = float(np.quantile(ratios, _NEARER))
    if _SHORTEST <= ratio <= _LONGEST:
        return
    unit = min(_LENGTHS, key=lambda name: abs(np.log(_LENGTHS[name] / ratio)))
    if abs(np.log(_LENGTHS[unit] / ratio)) < np.log(_NEAR):
        raise InputError(
            f"{frames[0].where} and others: atoms are {ratio:.3g} times the length of a bond from "
            f"their nearest neighbours; likely the positions are in {unit}; convert them to Å "
            f"(divide by {_LENGTHS[unit]:g})"
        )


def require_one_unit(
    frames: Sequence[Frame],
    others: Mapping[str, Mapping[str, np.ndarray]],
    elements: Sequence[int],
    name: str,
    names: tuple[str, str],
) -> None:
    """Refuse labels whose slope on others is that of another unit, or of the other sign.

    Args:
        frames: with labels.
        others: energies (eV), forces (eV/Å) and stresses (eV/Å³) of another method by the frames'
            keys.
        elements: atomic numbers that occur.
        name: of the other method.
        names: of the frames' labels and of the others.

    Raises:
        InputError: naming the label and the likely unit.
    """
    freedom = len(frames) - len(elements)
    _compare("energy", *_energies(frames, others, elements), _ENERGIES, freedom, name, names)
    forces = _of_both("forces", frames, others)
    _compare("forces", *forces, _FORCES, forces[0].size, name, names)
    own, other = _of_both("stress", frames, others)
    if len(own):
        # a cell that one method finds too large and the other too small says nothing; changes do
        own, other = own - own.mean(axis=0), other - other.mean(axis=0)
        _compare("stress", own, other, _STRESSES, len(own) - 1, name, names)


def require_total_energies(frames: Sequence[Frame], elements: Sequence[int]) -> None:
    """Refuse energies that no energies of the elements explain, up to those of bonds.

    Energies per atom are such, unless all structures are of one size.

    Args:
        frames: with energies.
        elements: atomic numbers that occur.

    Raises:
        InputError: naming the median of what is left.
    """
    left = _beyond_elements(frames, elements, [float(f.energy or 0.0) for f in frames])
    apart = float(np.median(np.abs(left) / [len(frame.atoms) for frame in frames]))
    if apart > IMPOSSIBLE:
        raise InputError(
            f"the energies of the training frames are {apart:.4g} eV/atom (median) away from sums "
            "of energies of their elements, more than any bond; they must be total energies in eV, "
            "not per atom, and of one method"
        )


def require_one_dipole_unit(
    labels: Sequence[np.ndarray | None], answers: Sequence[np.ndarray | None], name: str
) -> None:
    """Refuse dipoles whose slope on a model's, both without their mean, is that of another unit.

    Args:
        labels: of each frame, ``(3,)`` in e·Å, or None.
        answers: of the model, likewise.
        name: of the model.

    Raises:
        InputError: naming the likely unit.
    """
    pairs = [
        pair for pair in zip(labels, answers, strict=True) if all(one is not None for one in pair)
    ]
    if len(pairs) < _FEWEST:
        return
    own, other = (np.array(one) - np.mean(one, axis=0) for one in zip(*pairs, strict=True))
    product, size = float(np.sum(own * other)), float(np.linalg.norm(own) * np.linalg.norm(other))
    if size == 0 or product < _DIPOLE_CORRELATION * size:
        return
    slope = product / float(np.sum(other**2))
    for unit, factor in _DIPOLES.items():
        for whose, ratio in (("labelled frames", factor), (f"answers of {name}", 1 / factor)):
            if abs(np.log(ratio / slope)) < np.log(_DIPOLE_NEAR):
                raise InputError(
                    f"the dipoles of the labelled frames are {slope:.4g} times those of {name}; "
                    f"likely the {whose} are in {unit}; convert labels and train models in e·Å, "
                    "or name a key that no frame has with --dipole_key to leave dipoles out"
                )


def _every(frames: Sequence[Frame]) -> int:
    return max(1, len(frames) // _MEASURED)


def _nearest(frame: Frame) -> np.ndarray:
    """Distances of bonding elements to their nearest neighbours over the sums of covalent radii."""
    from ase.data import covalent_radii
    from ase.neighborlist import neighbor_list

    atoms = frame.atoms
    radii = covalent_radii[atoms.numbers]
    ratios = np.full(len(atoms), np.inf)
    bonding = np.isin(atoms.numbers, _BONDED)
    for reach in _REACHES:
        if np.isfinite(ratios[bonding]).all():
            break
        first, second, distances = neighbor_list("ijd", atoms, reach * radii)
        np.minimum.at(ratios, first, distances / (radii[first] + radii[second]))
    return np.asarray(ratios[bonding & np.isfinite(ratios)])


def _energies(
    frames: Sequence[Frame],
    others: Mapping[str, Mapping[str, np.ndarray]],
    elements: Sequence[int],
) -> tuple[np.ndarray, np.ndarray]:
    """Both energies of the frames (eV), less the part that their composition explains."""
    own = [float(f.energy or 0.0) for f in frames]
    other = [float(others[f.key]["energy"]) for f in frames]
    return _beyond_elements(frames, elements, own), _beyond_elements(frames, elements, other)


def _beyond_elements(
    frames: Sequence[Frame], elements: Sequence[int], energies: Sequence[float]
) -> np.ndarray:
    """Energies (eV) less one for each element, fitted to them."""
    energy, counts = np.array(energies), compositions([f.atoms.numbers for f in frames], elements)
    return np.asarray(energy - ElementEnergies(counts, energy)(counts))


def _of_both(
    label: str, frames: Sequence[Frame], others: Mapping[str, Mapping[str, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """A label of the frames that have it of both methods, ``(n, 3)`` or ``(n_frames, 6)``."""
    width = {"forces": 3, "stress": 6}[label]
    pairs = [
        (getattr(frame, label), others[frame.key][label])
        for frame in frames
        if getattr(frame, label) is not None and label in others[frame.key]
    ]
    own, other = ([np.reshape(pair[n], (-1, width)) for pair in pairs] for n in (0, 1))
    nothing = np.zeros((0, width))
    return np.concatenate([nothing, *own]), np.concatenate([nothing, *other])


def _compare(
    label: str,
    own: np.ndarray,
    other: np.ndarray,
    units: Mapping[str, float],
    freedom: int,
    name: str,
    names: tuple[str, str],
) -> None:
    product, norm = float(np.sum(own * other)), float(np.sum(other**2))
    size = np.sqrt(norm * float(np.sum(own**2)))
    if freedom < _FEWEST or size == 0 or abs(product) < _CORRELATION * size:
        return
    slope = product / norm
    if 1 / _SLOPE < slope < _SLOPE:
        return
    start = f"{_WORDS[label]} of the {names[0]} are {slope:.4g} times those of {name}"
    if slope < 0:
        raise InputError(f"{start}: one of them has the wrong sign ({_SIGNS[label]})")
    # in units of the one, or of the other
    ratios = {(names[0], unit): factor for unit, factor in units.items()}
    ratios |= {(names[1], unit): 1 / factor for unit, factor in units.items()}
    (file, unit), ratio = min(ratios.items(), key=lambda item: abs(np.log(item[1] / slope)))
    if abs(np.log(ratio / slope)) < np.log(_NEAR):
        raise InputError(
            f"{start}; likely the {file} are in {unit}; convert all labels to {_UNITS[label]}"
        )
    if label == "stress":  # no two methods differ like this
        raise InputError(
            f"{start}; virials are no stresses, which are −virial / volume; convert all labels to "
            "eV/Å³"
        )
