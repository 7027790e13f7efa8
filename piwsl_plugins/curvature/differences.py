"""Curvature by finite differences: whole Hessians from forces, probes from energies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms


class NotFiniteError(ArithmeticError):
    """A calculator gave an energy or force that is not finite."""


def hessian(atoms: Atoms, step: float) -> tuple[np.ndarray, float]:
    """Second derivatives of the energy, by central differences of the forces.

    Args:
        atoms: with its calculator; constraints are ignored, positions stay as they are.
        step: displacement of a component, in Å.

    Returns:
        ``(3 n_atoms, 3 n_atoms)`` in eV/Å², symmetrised, and the largest difference of two
        elements that symmetry makes equal, before it was imposed.

    Raises:
        NotFiniteError: for forces that are not finite.
    """
    displaced = atoms.copy()
    displaced.calc = atoms.calc
    rows = []
    for atom in range(len(atoms)):
        for axis in range(3):
            forces = []
            for sign in (1.0, -1.0):
                displaced.positions = atoms.positions
                displaced.positions[atom, axis] += sign * step
                forces.append(_finite(displaced.get_forces(apply_constraint=False)).ravel())
            rows.append((forces[1] - forces[0]) / (2.0 * step))
    raw = np.array(rows)
    return 0.5 * (raw + raw.T), float(np.abs(raw - raw.T).max())


def curvatures(atoms: Atoms, displacements: np.ndarray) -> np.ndarray:
    """½[E(r+δ) + E(r−δ)] − E(r) for each displacement δ.

    Args:
        atoms: with its calculator; positions stay as they are.
        displacements: ``(n_probes, n_atoms, 3)`` in Å.

    Returns:
        ``(n_probes,)`` in eV.

    Raises:
        NotFiniteError: for energies that are not finite.
    """
    displaced = atoms.copy()
    displaced.calc = atoms.calc

    def energy(displacement: np.ndarray | float) -> float:
        displaced.positions = atoms.positions + displacement
        return float(_finite(displaced.get_potential_energy()))

    centre = energy(0.0)
    return np.array([0.5 * (energy(delta) + energy(-delta)) - centre for delta in displacements])


def _finite(values: np.ndarray | float) -> np.ndarray:
    array = np.array(values, dtype=float)
    if not np.isfinite(array).all():
        raise NotFiniteError("an energy or force is not finite")
    return array
