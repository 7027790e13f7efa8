"""Errors of energies and forces on labelled frames; needs ASE alone."""

from __future__ import annotations

import ase
import numpy as np


def errors(
    frames: list[ase.Atoms],
    energies: np.ndarray,
    forces: list[np.ndarray],
    true_energies: np.ndarray,
    true_forces: list[np.ndarray],
) -> dict[str, float]:
    """Errors in meV/atom and meV/Å, and the force slope Σ F·F_ref / Σ F_ref²."""
    energy = 1e3 * (energies - true_energies) / np.array([len(atoms) for atoms in frames])
    found, true = np.concatenate(forces), np.concatenate(true_forces)
    force = 1e3 * (found - true)
    return {
        "E_rmse": float(np.sqrt(np.mean(energy**2))),
        "E_mae": float(np.mean(np.abs(energy))),
        "E_centred": float(np.std(energy)),
        "F_rmse": float(np.sqrt(np.mean(force**2))),
        "F_mae": float(np.mean(np.abs(force))),
        "slope": float(np.sum(found * true) / np.sum(true**2)),
    }


def errors_on(
    frames: list[ase.Atoms], energies: np.ndarray, forces: list[np.ndarray]
) -> dict[str, float]:
    """Errors against the labels that the frames carry."""
    true = np.array([atoms.info["REF_energy"] for atoms in frames])
    return errors(frames, energies, forces, true, [a.arrays["REF_forces"] for a in frames])
