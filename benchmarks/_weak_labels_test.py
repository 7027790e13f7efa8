"""Predictions and errors of the models of ``weak_labels.py``."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from _accuracy_data import read_labels
from _accuracy_test import predict
from _errors import errors_on

#: energies (eV) and forces (eV/Å) of frames
Predict = Callable[[list[ase.Atoms]], tuple[np.ndarray, list[np.ndarray]]]


def cheap_labels(
    frames: list[ase.Atoms], method: str, python: str, folder: Path
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Energies (eV) and forces (eV/Å) by a cheap method, in the Python that has it."""
    file, labels = folder / "frames.xyz", folder / "frames.npz"
    bare = [ase.Atoms(a.numbers, a.positions, cell=a.cell, pbc=a.pbc) for a in frames]
    ase.io.write(file, bare)
    script = Path(__file__).with_name("_accuracy_cheap.py")
    subprocess.run([python, str(script), str(file), method, str(labels)], check=True)
    found = read_labels(frames, labels)
    return found.energies, found.forces


def mean_of(models: list[Any], frames: list[ase.Atoms]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Mean energies and forces of some models; of none, zeros."""
    if not models:
        return np.zeros(len(frames)), [np.zeros((len(atoms), 3)) for atoms in frames]
    energies, forces = zip(*(predict(one, frames) for one in models))
    return np.mean(energies, axis=0), [np.mean(each, axis=0) for each in zip(*forces)]


def test(found: Predict, file: Path) -> dict[str, float]:
    """Errors on a file of test frames; energies without their mean error."""
    frames = [atoms for atoms in ase.io.read(file, ":") if len(atoms) > 1]
    measured = errors_on(frames, *found(frames))
    return {name: measured[name] for name in ("E_centred", "F_rmse", "slope")}
