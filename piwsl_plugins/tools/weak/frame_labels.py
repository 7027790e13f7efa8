"""Energies, forces and stresses of structures, by name, and their root mean squares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ...frames.reading import Frame, Keys
from ..runs import Arrays
from ..storage import written_whole

#: energy: of the structure; forces: ``(n_atoms, 3)``; stress: ``(6,)`` in ASE's order and sign
UNITS = {"energy": "eV", "forces": "eV/Å", "stress": "eV/Å³"}


def carried(frame: Frame) -> Arrays:
    """The labels that a frame came with."""
    labels = {name: getattr(frame, name) for name in UNITS}
    return {name: np.asarray(value) for name, value in labels.items() if value is not None}


def difference(minuend: Arrays, subtrahend: Arrays) -> Arrays:
    """The difference of labels of one structure, of those that both have."""
    common = [name for name in minuend if name in subtrahend]
    return {name: minuend[name] - subtrahend[name] for name in common}


def root_mean_squares(labels: Iterable[Arrays], frames: Iterable[Frame]) -> dict[str, float]:
    """Root mean square of each label over structures.

    Args:
        labels: by name; not every structure needs all.
        frames: the structures.

    Returns:
        by name: of energies per atom (eV), and of components of forces (eV/Å) and stresses (eV/Å³).
    """
    squares: dict[str, list[np.ndarray]] = {}
    for arrays, frame in zip(labels, frames, strict=True):
        for name, value in arrays.items():
            scale = len(frame.atoms) if name == "energy" else 1
            squares.setdefault(name, []).append(np.square(value / scale).ravel())
    return {name: float(np.sqrt(np.concatenate(s).mean())) for name, s in squares.items()}


def write_frames(
    path: Path, frames: Sequence[Frame], labels: Sequence[Mapping[str, object]], keys: Keys
) -> None:
    """Write extended XYZ, whole or not at all.

    Args:
        path: name of the file.
        frames: the structures.
        labels: of each: those of :data:`UNITS`, which get their name of ``keys``, and others under
            the name that they have; arrays with a row for each atom become such.
        keys: names of the labels.
    """
    with written_whole(path) as partial:
        write_xyz(partial, frames, labels, keys)


def write_xyz(
    path: Path, frames: Sequence[Frame], labels: Sequence[Mapping[str, object]], keys: Keys
) -> None:
    """As :func:`write_frames`, to a file that may be left half written."""
    from ase.io import write

    structures = []
    for frame, values in zip(frames, labels, strict=True):
        atoms = frame.written()
        if frame.config_type:
            atoms.info["config_type"] = frame.config_type
        for name, value in values.items():
            key = getattr(keys, name) if name in UNITS else name
            if name == "forces" or name.endswith("forces_std"):
                atoms.set_array(key, np.asarray(value))
            else:
                atoms.info[key] = value
        structures.append(atoms)
    write(path, structures, format="extxyz")
