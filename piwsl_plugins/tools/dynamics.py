"""What the dynamics of every verb need."""

from __future__ import annotations

import numpy as np
from ase import Atoms, units
from ase.md.velocitydistribution import Stationary, ZeroRotation

#: atoms closer than this multiple of the sum of their covalent radii have collapsed
COLLAPSE_FACTOR = 0.5
#: a run with this multiple of the temperature wanted has run away
RUNAWAY_FACTOR = 5.0


def draw_velocities(atoms: Atoms, temperature: float, rng: np.random.Generator) -> None:
    """Velocities of the Maxwell–Boltzmann distribution, without drift.

    Molecules in vacuum do not rotate either.

    Args:
        atoms: gets them.
        temperature: in K.
        rng: draws them.
    """
    spread = np.sqrt(atoms.get_masses() * units.kB * temperature)
    atoms.set_momenta(spread[:, None] * rng.standard_normal((len(atoms), 3)))
    if len(atoms) > 1:
        Stationary(atoms)
        if not atoms.pbc.any():
            # around its axis a linear molecule has no moment of inertia, at which ASE warns
            with np.errstate(invalid="ignore"):
                ZeroRotation(atoms)
