"""Calculators whose dynamics are known, as ``module:factory`` for the command line."""

import os
import time

import numpy as np
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list


class Springs(Calculator):
    """½ k (r − r0)² between all atoms of a molecule, and a constant pull (eV/Å) on its last atom.

    A pulled atom has no springs: it leaves in the direction from the centre.
    """

    implemented_properties = ("energy", "forces")

    def __init__(self, pull=0.0, constant=20.0):
        super().__init__()
        self.pull, self.constant = pull, constant
        self.rest = molecule("CH3CH2OH").get_all_distances()

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        held = len(self.atoms) - (1 if self.pull else 0)
        first, second = np.triu_indices(held, 1)
        vectors = self.atoms.positions[second] - self.atoms.positions[first]
        lengths = np.linalg.norm(vectors, axis=1)
        stretched = lengths - self.rest[first, second]
        pulls = (self.constant * stretched / lengths)[:, None] * vectors
        forces = np.zeros((len(self.atoms), 3))
        np.add.at(forces, first, pulls)
        np.add.at(forces, second, -pulls)
        energy = 0.5 * self.constant * np.sum(stretched**2)
        if self.pull:
            outwards = self.atoms.positions[-1] - self.atoms.positions[:held].mean(axis=0)
            distance = np.linalg.norm(outwards)
            forces[-1] += self.pull * outwards / distance
            forces[:held] -= self.pull * outwards / distance / held
            energy -= self.pull * distance
        self.results = {"energy": energy, "forces": forces}


class Harmonic(Calculator):
    """½ k Σ (x − x0)²: mean energy 3N/2 kT at any temperature."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        away = self.atoms.positions - molecule("CH3CH2OH").positions
        self.results = {"energy": 10.0 * np.sum(away**2), "forces": -20.0 * away}


class Crystal(Calculator):
    """Morse pairs between the neighbours that the first structure has, kept for good."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, depth=0.35, stiffness=1.4, length=2.6):
        super().__init__()
        self.depth, self.stiffness, self.length = depth, stiffness, length
        self.pairs = None

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if self.pairs is None:
            self.pairs = neighbor_list("ijS", self.atoms, 3.2)
        first, second, shifts = self.pairs
        positions, cell = self.atoms.positions, self.atoms.cell.array
        vectors = positions[second] - positions[first] + shifts @ cell
        lengths = np.linalg.norm(vectors, axis=1)
        decay = np.exp(-self.stiffness * (lengths - self.length))
        slopes = 2 * self.depth * self.stiffness * (decay - decay**2)
        pulls = (slopes / lengths)[:, None] * vectors
        forces = np.stack(
            [np.bincount(first, pulls[:, axis], len(positions)) for axis in range(3)], axis=1
        )
        virial = 0.5 * np.einsum("ni,nj->ij", pulls, vectors) / self.atoms.get_volume()
        self.results = {
            "energy": 0.5 * self.depth * np.sum(decay**2 - 2 * decay),
            "forces": forces,
            "stress": virial.ravel()[[0, 4, 8, 5, 2, 1]],
        }

    def reset(self):
        """Of a new structure the neighbours are looked up anew."""
        super().reset()
        self.pairs = None


class Stressless(Crystal):
    """A crystal whose calculator gives no stress."""

    implemented_properties = ("energy", "forces")


class Failing(Springs):
    """Fails on molecules whose first atom is at x > 5 Å."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        if atoms.positions[0, 0] > 5:
            raise RuntimeError("no convergence")
        super().calculate(atoms, properties, system_changes)


class Slow(Springs):
    """Writes a line to ``COUNT_FILE`` at each evaluation, and takes a moment."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        with open(os.environ["COUNT_FILE"], "a") as file:
            file.write(".")
        time.sleep(0.002)
        super().calculate(atoms, properties, system_changes)


def springs():
    return Springs()


def pulled():
    return Springs(pull=0.5)


def harmonic():
    return Harmonic()


def crystal():
    return Crystal()


def stressless():
    return Stressless()


def failing():
    return Failing()


def slow():
    return Slow()
