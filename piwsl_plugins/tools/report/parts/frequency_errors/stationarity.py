"""What the harmonic frequencies of a label say: is it stationary, and its vibrational energies."""

from __future__ import annotations

import numpy as np
from ase import units
from ase.thermochemistry import HarmonicThermo

from .....labels.hessian_labels import HessianLabel
from ....hessian.frequencies import IMAGINARY
from ....hessian.rigid_motions import rigid_motions

#: of the free energy (K)
TEMPERATURE = 300.0
#: modes below count as this in zero-point and free energy, where they would diverge (cm⁻¹)
LOWEST = 50.0
#: atoms of a stationary structure feel at most this force (eV/Å)
STATIONARY_FORCE = 0.1


def n_imaginary(frequencies: np.ndarray) -> int:
    """Number of imaginary modes, which are negative in :mod:`piwsl_plugins.tools.hessian`."""
    return int(np.sum(frequencies < IMAGINARY))


def is_stationary(label: HessianLabel, frequencies: np.ndarray) -> bool:
    """Whether a Hessian is that of a minimum, or of a molecule's saddle point.

    Forces turn with a molecule: H (ω × r) = −ω × F shows them without another calculation.
    Molecules need forces below :data:`STATIONARY_FORCE` and at most one imaginary mode; periodic
    structures, which cannot be turned, no imaginary mode.

    Args:
        label: with a whole Hessian.
        frequencies: its own, in cm⁻¹.
    """
    assert label.hessian is not None and label.pbc is not None
    if label.pbc.any():
        return n_imaginary(frequencies) == 0
    rotations = rigid_motions(label.positions, periodic=False)[3:]
    changes = (rotations.reshape(3, -1) @ label.hessian).reshape(rotations.shape)
    # Σ over three axes of |axis × F|² = 2 |F|²
    forces = np.sqrt(0.5 * np.square(changes).sum(axis=(0, 2)))
    return bool(forces.max() < STATIONARY_FORCE) and n_imaginary(frequencies) <= 1


def thermochemistry(frequencies: np.ndarray, skip: int) -> tuple[float, float]:
    """Zero-point energy and vibrational Helmholtz free energy at 300 K, in meV.

    Args:
        frequencies: in cm⁻¹, ascending.
        skip: how many of the lowest are left out: the imaginary modes of the reference. Of the
            others, those below :data:`LOWEST` are raised to it.
    """
    modes = HarmonicThermo(np.maximum(frequencies[skip:], LOWEST) * units.invcm)
    free = modes.get_helmholtz_energy(TEMPERATURE, verbose=False)
    return 1000 * modes.get_ZPE_correction(), 1000 * free
