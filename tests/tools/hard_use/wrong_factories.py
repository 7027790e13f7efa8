"""What users write for ``module:factory``: calculators, and functions that give none."""

import sys
import time

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

#: not a function
number = 7


def emt():
    return EMT()


def raises():
    raise OSError("no licence")


def leaves():
    sys.exit("I am a script")


def text():
    return "a string"


def wants(method):
    return EMT()


class Part(Calculator):
    """A share of EMT's energy, which takes its time."""

    implemented_properties = ("energy", "forces")

    def __init__(self, share, seconds):
        super().__init__()
        self.share, self.seconds = share, seconds

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        time.sleep(self.seconds)
        inner = self.atoms.copy()
        inner.calc = EMT()
        energy, forces = inner.get_potential_energy(), inner.get_forces()
        self.results = {"energy": self.share * energy, "forces": self.share * forces}


def slow():
    return Part(0.95, 0.003)


def slower():
    return Part(0.95, 0.1)


def rest():
    return Part(0.05, 0.0)


def most():
    return Part(0.9, 0.0)


class Failing(Calculator):
    """Gives up on every structure."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        raise RuntimeError("SCF did not\nconverge")


class NotFinite(Failing):
    """Gives NaN."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        self.results = {"energy": np.nan, "forces": np.full((len(atoms), 3), np.nan)}
