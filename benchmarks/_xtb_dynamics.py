"""Frames of GFN2-xTB dynamics with its labels; needs ASE and tblite alone."""

from __future__ import annotations

import ase
import numpy as np
from _labelled_frames import labelled
from ase import units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from tblite.ase import TBLite

TIMESTEP = 1.0
EQUILIBRATION, SPACING = 500, 20


def trajectory(
    atoms: ase.Atoms, temperature: float, frames: int, random: np.random.Generator
) -> list[ase.Atoms]:
    """Labelled frames of Langevin dynamics (K); positions are rounded before they are labelled."""
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=random)
    dynamics = Langevin(
        atoms, TIMESTEP * units.fs, temperature_K=temperature, friction=0.02 / units.fs, rng=random
    )
    dynamics.run(EQUILIBRATION)
    found = []
    for _ in range(frames):
        dynamics.run(SPACING)
        frame = ase.Atoms(atoms.numbers, atoms.positions.round(6))
        found.append(labelled(frame, TBLite(method="GFN2-xTB", accuracy=0.01, verbosity=0)))
    return found
