"""Calculators whose Hessians are known, also as ``module:factory`` for the command line."""

import os
import time
from pathlib import Path

import numpy as np
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.neighborlist import neighbor_list

SIGMA, EPSILON, CUTOFF = 2.5, 0.1, 9.0


class Harmonic(Calculator):
    """E = −f·x + ½ xᵀHx with x the distance from ethanol's geometry; F = f − (H + A)x.

    Where ``tied``, springs hold every atom in its place: no molecule has them.
    """

    implemented_properties = ("energy", "forces")

    def __init__(self, antisymmetric=0.0, tied=0.0):
        super().__init__()
        self.tied = tied
        self.antisymmetric = antisymmetric

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        x = (self.atoms.positions - molecule("CH3CH2OH").positions).ravel()
        matrix, slope = known_hessian(), np.linspace(-2, 2, x.size)
        matrix = matrix + self.tied * np.eye(x.size)
        odd = self.antisymmetric * (np.eye(x.size, k=1) - np.eye(x.size, k=-1))
        self.results = {
            "energy": 0.5 * x @ matrix @ x - slope @ x - 4000.0,
            "forces": (slope - (matrix + odd) @ x).reshape(-1, 3),
        }


def known_hessian(size=27):
    """Of ethanol rattled with seed 0: springs between all its atoms; of other sizes anything."""
    random = np.random.default_rng(1)
    if size != 27:
        matrix = random.standard_normal((size, size))
        return matrix + matrix.T + 20 * np.eye(size)
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=0)
    hessian = np.zeros((9, 3, 9, 3))
    for i in range(9):
        for j in range(i):
            line = atoms.positions[i] - atoms.positions[j]
            block = random.uniform(1, 6) * np.outer(line, line) / (line @ line)
            hessian[i, :, i] += block
            hessian[j, :, j] += block
            hessian[i, :, j] -= block
            hessian[j, :, i] -= block
    return hessian.reshape(27, 27)


def pair_hessian(atoms):
    """Of the Lennard-Jones potential below, from its derivatives; periodic images included."""
    hessian = np.zeros((len(atoms), 3, len(atoms), 3))
    for i, j, r, vector in zip(*neighbor_list("ijdD", atoms, CUTOFF)):
        power = (SIGMA / r) ** 6
        first = 4 * EPSILON * (6 * power - 12 * power**2) / r
        second = 4 * EPSILON * (156 * power**2 - 42 * power) / r**2
        line = np.outer(vector, vector) / r**2
        block = (second - first / r) * line + first / r * np.eye(3)
        hessian[i, :, i] += block
        hessian[i, :, j] -= block
    return hessian.reshape(3 * len(atoms), 3 * len(atoms))


class Forgetful(Calculator):
    """EMT without memory: the neighbour list that EMT keeps shows in the last digit."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        inner = self.atoms.copy()
        inner.calc = EMT()
        values = {"energy": inner.get_potential_energy(), "forces": inner.get_forces()}
        self.results = {name: values[name] for name in self.implemented_properties}


class Energies(Forgetful):
    """Energies without forces."""

    implemented_properties = ("energy",)


class Counting(Forgetful):
    """Notes each evaluation in a file, and ends its process or gives up when told to."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        count = Path(os.environ["COUNT_FILE"])
        with count.open("a") as file:
            file.write(".")
        time.sleep(float(os.environ.get("SLOW", "0")))
        die_at = int(os.environ.get("DIE_AT", "0"))
        if die_at and count.stat().st_size >= die_at:
            os._exit(9)
        super().calculate(atoms, properties, system_changes)
        if self.atoms.get_distance(0, 1) < float(os.environ.get("FAIL_BELOW", "0")):
            raise RuntimeError("SCF did not\nconverge")


def harmonic():
    return Harmonic()


def tied():
    return Harmonic(tied=20.0)


def without_energy():
    return Harmonic(antisymmetric=3.0)


class Scaled(Harmonic):
    """Forces of the harmonic potential in another unit."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results["forces"] = self.results["forces"] / 97.1736


def in_atomic_units():
    return Scaled()


def emt():
    return Forgetful()


def energies():
    return Energies()


def counting():
    return Counting()


def lennard_jones():
    return LennardJones(sigma=SIGMA, epsilon=EPSILON, rc=CUTOFF)


def broken():
    raise OSError("no licence")


def text():
    return "a string"
