"""The structures of a pool, each once."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms

from ...frames.identity import StructureIndex
from ...frames.reading import structure_of
from ...frames.structure import Structure
from ..runs import Arrays
from .plan import Trajectory


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """One structure of a pool.

    Attributes:
        run: its trajectory.
        atoms: bare, with charge and spin of the frame that the trajectory began at.
        time: since the start of the trajectory, in fs.
        kinetic_temperature: in K.
        energy: of the calculator, in eV.
        forces: ``(n_atoms, 3)``, in eV/Å.
        stress: ``(6,)`` in eV/Å³ in ASE's order and sign, or None.
    """

    run: Trajectory
    atoms: Atoms
    time: float
    kinetic_temperature: float
    energy: float
    forces: np.ndarray
    stress: np.ndarray | None


class Collection:
    """Structures without repetitions, and without those that a pool must not hold."""

    def __init__(self, taken: Sequence[Structure]) -> None:
        """Args: taken: those that must not be in it."""
        self.structures: list[Snapshot] = []
        self.n_left_out = 0
        self._taken = StructureIndex(taken)

    def add(self, run: Trajectory, arrays: Arrays) -> None:
        """Take the structures of one run, as :class:`.simulation.Simulation` gives them."""
        stresses = arrays.get("stresses")
        for n in range(len(arrays.get("times", ()))):
            atoms = run.atoms.copy()
            atoms.set_cell(arrays["cells"][n])
            atoms.positions = arrays["positions"][n]
            if not self._taken.find_or_add(structure_of(atoms))[1]:
                self.n_left_out += 1
                continue
            self.structures.append(
                Snapshot(
                    run,
                    atoms,
                    float(arrays["times"][n]),
                    float(arrays["kinetic_temperatures"][n]),
                    float(arrays["energies"][n]),
                    arrays["forces"][n],
                    None if stresses is None else stresses[n],
                )
            )

    def missing(self, wanted: Mapping[float, int]) -> dict[float, int]:
        """How many structures of each temperature are still missing, where some are."""
        n_there = collections.Counter(s.run.temperature for s in self.structures)
        return {t: n - n_there[t] for t, n in wanted.items() if n > n_there[t]}

    def in_order(self, temperatures: Sequence[float]) -> list[Snapshot]:
        """All structures by temperature, in the order of ``temperatures``, run and time."""
        places = {temperature: place for place, temperature in enumerate(temperatures)}
        return sorted(self.structures, key=lambda s: (places[s.run.temperature], s.run.number))
