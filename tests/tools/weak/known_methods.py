"""Cheap methods and corrections that are known exactly, as ``module:factory``."""

import time

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lj import LennardJones

#: eV/Å²
STRONG = 0.184


class Springs(Calculator):
    """Every atom tied to the origin: E = ½k Σ r² + c, F = −k r."""

    implemented_properties = ("energy", "forces")

    def __init__(self, k, c=0.0):
        super().__init__()
        self.k, self.c = k, c

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy = 0.5 * self.k * float(np.square(self.atoms.positions).sum()) + self.c
        self.results = {"energy": energy, "forces": -self.k * self.atoms.positions}


class Slow(LennardJones):
    """Takes a quarter of a second."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        time.sleep(0.25)
        super().calculate(atoms, properties, system_changes)


class Failing(LennardJones):
    """Fails where the first two atoms are far apart."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        if atoms.get_distance(0, 1) > 1.6:
            raise RuntimeError("SCF did not converge")
        super().calculate(atoms, properties, system_changes)


def nothing():
    return Springs(0.0)


def weak():
    return Springs(0.01)


def weaker():
    return Springs(0.008)


def shifted():
    return Springs(0.01, c=7.0)


def strong():
    return Springs(STRONG)


def failing():
    return Failing(epsilon=0.01, sigma=2.0, rc=6.0)


def lennard_jones():
    return LennardJones(epsilon=0.01, sigma=2.0, rc=6.0)


def slow():
    return Slow(epsilon=0.01, sigma=2.0, rc=6.0)


def argon_low():
    return LennardJones(epsilon=0.008, sigma=3.4, rc=6.0)


def argon_change():
    """What is missing from ``argon_low`` to three times its strength, as E is linear in ε."""
    return LennardJones(epsilon=0.016, sigma=3.4, rc=6.0)
