"""What dynamics of every verb needs: velocities, and whether a structure is still sound."""

from __future__ import annotations

import numpy as np
from ase import Atoms, units
from ase.data import covalent_radii
from ase.geometry import find_mic
from ase.md.velocitydistribution import Stationary, ZeroRotation
from ase.neighborlist import neighbor_list

from .bonds import bonds

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


class Soundness:
    """Whether a structure in dynamics is one that one may trust."""

    def __init__(self, atoms: Atoms, bond_factor: float, temperature: float) -> None:
        """Take the start of a run.

        Args:
            atoms: its structure, whose bonds must hold.
            bond_factor: a bond is broken beyond this multiple of the sum of covalent radii; 0:
                bonds may break.
            temperature: of the run, in K.
        """
        first, second, _ = bonds(atoms)
        once = (first < second) if bond_factor > 0 else np.zeros(len(first), dtype=bool)
        self._first, self._second = first[once], second[once]
        radii = covalent_radii[atoms.numbers]
        self._limit = bond_factor * (radii[self._first] + radii[self._second])
        self._temperature = temperature

    def problem(self, atoms: Atoms) -> str | None:
        """What is wrong with the structure, in words, or None."""
        if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.get_potential_energy())):
            return "positions or energy are not finite"
        vectors = atoms.positions[self._second] - atoms.positions[self._first]
        if len(vectors):
            _, distances = find_mic(vectors, atoms.cell, atoms.pbc)
            excess = distances / self._limit
            worst = int(np.argmax(excess))
            if excess[worst] > 1:
                pair = [int(self._first[worst]), int(self._second[worst])]
                symbols = [atoms.symbols[index] for index in pair]
                what = "hydrogen detached" if "H" in symbols else "bond broken"
                names = "–".join(f"{s}{i}" for s, i in zip(symbols, pair, strict=True))
                return f"{what} ({names} at {distances[worst]:.2f} Å)"
        close = neighbor_list("i", atoms, COLLAPSE_FACTOR * covalent_radii[atoms.numbers])
        if len(close):
            return "atoms collapsed onto each other"
        found = atoms.get_temperature()
        if found > RUNAWAY_FACTOR * self._temperature:
            return f"temperature ran away ({found:.0f} K)"
        return None
