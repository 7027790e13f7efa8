"""Second derivatives by finite differences: whole Hessians, and along random displacements."""

from __future__ import annotations

from collections.abc import Callable
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
    forces, rows = _forces_of(atoms), []
    for component in range(3 * len(atoms)):
        displacement = np.zeros((len(atoms), 3))
        displacement.flat[component] = step
        rows.append((forces(-displacement) - forces(displacement)).ravel() / (2.0 * step))
    raw = np.array(rows)
    return 0.5 * (raw + raw.T), float(np.abs(raw - raw.T).max())


def force_changes(atoms: Atoms, displacements: np.ndarray) -> np.ndarray:
    """F(r+δ) − F(r) for each displacement δ.

    Args:
        atoms: with its calculator; constraints are ignored, positions stay as they are.
        displacements: ``(n_probes, n_atoms, 3)`` in Å.

    Returns:
        ``(n_probes, n_atoms, 3)`` in eV/Å.

    Raises:
        NotFiniteError: for forces that are not finite.
    """
    forces = _forces_of(atoms)
    centre = forces(0.0)
    return np.array([forces(delta) - centre for delta in displacements])


def curvatures(atoms: Atoms, displacements: np.ndarray) -> np.ndarray:
    """½[E(r+δ) + E(r−δ)] − E(r) for each displacement δ, from energies alone.

    Args:
        atoms: with its calculator; positions stay as they are.
        displacements: ``(n_probes, n_atoms, 3)`` in Å.

    Returns:
        ``(n_probes,)`` in eV.

    Raises:
        NotFiniteError: for energies that are not finite.
    """
    energy = _displaced(atoms, lambda displaced: displaced.get_potential_energy())
    centre = energy(0.0)
    return np.array([0.5 * (energy(delta) + energy(-delta)) - centre for delta in displacements])


def _forces_of(atoms: Atoms) -> Callable[[np.ndarray | float], np.ndarray]:
    return _displaced(atoms, lambda displaced: displaced.get_forces(apply_constraint=False))


def _displaced(
    atoms: Atoms, result: Callable[[Atoms], np.ndarray | float]
) -> Callable[[np.ndarray | float], np.ndarray]:
    """``result`` as a function of the displacement."""
    displaced = atoms.copy()
    displaced.calc = atoms.calc

    def at(displacement: np.ndarray | float) -> np.ndarray:
        displaced.positions = atoms.positions + displacement
        values = np.array(result(displaced), dtype=float)
        if not np.isfinite(values).all():
            raise NotFiniteError("an energy or force is not finite")
        return values

    return at
