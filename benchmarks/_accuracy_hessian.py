"""Errors of a model's Hessian and of its harmonic frequencies."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import ase
import numpy as np
from ase.vibrations import VibrationsData

from piwsl_plugins.frames.reading import structure_of
from piwsl_plugins.labels.hessian_labels import read_labels, write_labels
from piwsl_plugins.labels.hessian_lookup import HessianLabels

#: displacement of the central differences (Å)
STEP = 0.005
#: of probes, standard deviation per component (Å)
PROBE_DISPLACEMENT = 0.002

Forces = Callable[[list[ase.Atoms]], list[np.ndarray]]


def write_probes(
    source: Path, frames: Sequence[ase.Atoms], n_probes: int, seed: int, target: Path
) -> None:
    """Labels of n random probes each, H δ of frames that have a whole Hessian.

    Args:
        source: the Hessian labels.
        frames: those to be labelled.
        n_probes: of each.
        seed: of the directions, normal with :data:`PROBE_DISPLACEMENT` per component.
        target: the file to be written.
    """
    labels, random = HessianLabels(read_labels(source)), np.random.default_rng(seed)
    found = []
    for atoms in frames:
        label = labels.find(structure_of(atoms))
        assert label is not None and label.hessian is not None
        fields = random.normal(scale=PROBE_DISPLACEMENT, size=(n_probes, len(atoms), 3))
        changes = -(fields.reshape(n_probes, -1) @ label.hessian).reshape(fields.shape)
        probes = {"displacements": fields, "force_changes": changes}
        found.append(dataclasses.replace(label, hessian=None, **probes))
    write_labels(target, found, "probes of the Hessians of the reference method")


def model_hessian(forces: Forces, atoms: ase.Atoms) -> np.ndarray:
    """The Hessian (3N, 3N) in eV/Å² by central differences of forces, symmetrised."""
    displaced = []
    for component in range(3 * len(atoms)):
        for sign in (1, -1):
            copy = atoms.copy()
            copy.positions.flat[component] += sign * STEP
            displaced.append(copy)
    forward_backward = np.stack(forces(displaced)).reshape(3 * len(atoms), 2, -1)
    hessian = (forward_backward[:, 1] - forward_backward[:, 0]) / (2 * STEP)
    return 0.5 * (hessian + hessian.T)


def frequencies(atoms: ase.Atoms, hessian: np.ndarray) -> np.ndarray:
    """The 3N − 6 highest frequencies of a molecule in cm⁻¹, imaginary ones as negative numbers."""
    found = VibrationsData.from_2d(atoms, hessian).get_frequencies()
    return np.sort(found.real - found.imag)[6:]


def hessian_errors(
    forces: Forces, frames: Sequence[ase.Atoms], numbers: Sequence[int], file: Path, n: int
) -> dict[str, float]:
    """Errors on the first ``n`` frames that have a whole Hessian.

    Args:
        forces: of the model, in eV/Å, for molecules.
        frames: a data file.
        numbers: of the frames in question, in their order.
        file: the Hessian labels.
        n: number of frames.

    Returns:
        ``H_rmse`` over all elements in eV/Å²; ``freq_mae`` in cm⁻¹, see :func:`frequencies`.
    """
    labels = HessianLabels(read_labels(file))
    elements, modes = [], []
    for number in numbers:
        atoms = frames[number]
        label = labels.find(structure_of(atoms))
        if label is None or label.hessian is None or len(elements) == n:
            continue
        hessian = model_hessian(forces, atoms)
        elements.append((hessian - label.hessian).ravel())
        modes.append(frequencies(atoms, hessian) - frequencies(atoms, label.hessian))
    if not elements:
        return {}
    return {
        "H_rmse": float(np.sqrt(np.mean(np.concatenate(elements) ** 2))),
        "freq_mae": float(np.mean(np.abs(np.concatenate(modes)))),
    }
