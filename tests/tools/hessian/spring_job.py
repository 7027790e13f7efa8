"""Molecules of springs at rest: stationary points whose Hessians and frequencies are known."""

import numpy as np
from ase.data import atomic_masses
from ase.units import Bohr, Hartree, _amu, _e, _hbar, invcm

#: eV/Å² in hartree/bohr²
IN_ATOMIC_UNITS = Bohr**2 / Hartree
WAVENUMBER = _hbar * 1e10 / np.sqrt(_e * _amu) / invcm


def bent(constants=(50.0, 40.0, 15.0)):
    """H–O–F with a spring between each pair: ``numbers, positions`` (Å), ``hessian`` (eV/Å²)."""
    numbers = np.array([8, 1, 9])
    positions = np.array([[0.1, 0.05, -0.2], [0.9, 0.3, 0.35], [-0.6, 1.1, 0.4]])
    hessian = np.zeros((9, 9))
    for (i, j), constant in zip(((0, 1), (0, 2), (1, 2)), constants):
        unit = (positions[j] - positions[i]) / np.linalg.norm(positions[j] - positions[i])
        row = np.zeros((3, 3))
        row[i], row[j] = unit, -unit
        hessian += constant * np.outer(row, row)
    return numbers, positions, hessian


def linear(stretch=100.0, bend=4.0):
    """O–C–O along an axis, and its four frequencies (cm⁻¹, ascending)."""
    numbers = np.array([8, 6, 8])
    axis = np.array([2.0, -1.0, 2.0]) / 3
    positions = 1.16 * np.outer([-1, 0, 1], axis)
    across = np.linalg.svd(axis[None])[2][1:]
    hessian = np.zeros((9, 9))
    for pattern in ((1, -1, 0), (0, 1, -1)):
        row = np.outer(pattern, axis).ravel()
        hessian += stretch * np.outer(row, row)
    for direction in across:
        row = np.outer((1, -2, 1), direction).ravel()
        hessian += bend * np.outer(row, row)
    oxygen, carbon = atomic_masses[8], atomic_masses[6]
    squares = [
        *[bend * (2 / oxygen + 4 / carbon)] * 2,
        stretch / oxygen,
        stretch * (1 / oxygen + 2 / carbon),
    ]
    return numbers, positions, hessian, np.sqrt(squares) * WAVENUMBER
