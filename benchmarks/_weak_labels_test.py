"""Predictions and errors of the models of ``weak_labels.py``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from _accuracy_cheap import calculator
from _accuracy_test import errors, predict
from _weak_labels_files import CHEAP

#: energies (eV) and forces (eV/Å) of frames
Predict = Callable[[list[ase.Atoms]], tuple[np.ndarray, list[np.ndarray]]]


def cheap_labels(frames: list[ase.Atoms]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Energies (eV) and forces (eV/Å) by the cheap method."""
    cheap = calculator(CHEAP)
    bare = [ase.Atoms(atoms.numbers, atoms.positions, calculator=cheap) for atoms in frames]
    found = [(atoms.get_potential_energy(), atoms.get_forces()) for atoms in bare]
    return np.array([energy for energy, _ in found]), [forces for _, forces in found]


def mean_of(models: list[Any], frames: list[ase.Atoms]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Mean energies and forces of some models."""
    energies, forces = zip(*(predict(one, frames) for one in models))
    return np.mean(energies, axis=0), [np.mean(each, axis=0) for each in zip(*forces)]


def test(found: Predict, file: Path) -> dict[str, float]:
    """Errors on a file of test frames; energies without their mean error."""
    frames = [atoms for atoms in ase.io.read(file, ":") if len(atoms) > 1]
    energies, forces = found(frames)
    true = np.array([atoms.info["REF_energy"] for atoms in frames])
    measured = errors(frames, energies, forces, true, [a.arrays["REF_forces"] for a in frames])
    return {name: measured[name] for name in ("E_centred", "F_rmse", "slope")}
