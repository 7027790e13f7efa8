"""ASE calculators whose answers are known, also as ``module:factory`` for the command line."""

import numpy as np
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones


class Quadratic(Calculator):
    """E = ½ xᵀHx + offset, F = −(factor·H + A)x with x the distance from given positions.

    The forces are the gradient of the energy only for factor 1 and A = 0.
    """

    implemented_properties = ("energy", "forces")

    def __init__(self, centre, hessian, antisymmetric=0.0, factor=1.0, offset=0.0):
        super().__init__()
        self.centre, self.hessian = np.asarray(centre, dtype=float), hessian
        self.jacobian = -(factor * hessian + antisymmetric)
        self.offset = offset

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        x = (self.atoms.positions - self.centre).ravel()
        self.results = {
            "energy": 0.5 * x @ self.hessian @ x + self.offset,
            "forces": (self.jacobian @ x).reshape(-1, 3),
        }


class Changed(Calculator):
    """Another calculator with scaled forces, shifted energy, and anything done to the results."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, original, force_factor=1.0, shift=0.0, change=None):
        super().__init__()
        self.original, self.force_factor, self.shift = original, force_factor, shift
        self.change = change

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        inner = self.atoms.copy()
        inner.calc = self.original
        self.results = {
            "energy": inner.get_potential_energy() + self.shift,
            "forces": self.force_factor * inner.get_forces(),
        }
        if inner.pbc.all():
            self.results["stress"] = inner.get_stress()
        if self.change is not None:
            self.change(inner, self.results)


class PointCharges(Changed):
    """Another calculator with the dipole Σ q r of charges (e) by element."""

    implemented_properties = (*Changed.implemented_properties, "dipole")

    def __init__(self, original, charges):
        def add(atoms, results):
            charge = np.array([charges[symbol] for symbol in atoms.symbols])
            results["dipole"] = charge @ atoms.positions

        super().__init__(original, change=add)


class OfDistances(Calculator):
    """A function of the distances of pairs of atoms, which gives the energy and its derivatives."""

    implemented_properties = ("energy", "forces")

    def __init__(self, pairs, function):
        super().__init__()
        self.pairs, self.function = np.array(pairs), function

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        first, second = self.pairs.T
        vectors = self.atoms.positions[second] - self.atoms.positions[first]
        distances = np.linalg.norm(vectors, axis=1)
        energy, slopes = self.function(distances)
        pulls = (slopes / distances)[:, None] * vectors
        forces = np.zeros((len(self.atoms), 3))
        np.add.at(forces, first, pulls)
        np.add.at(forces, second, -pulls)
        self.results = {"energy": energy, "forces": forces}


def springs(pairs, constant, length):
    """½ k (r − r0)² for each pair; eV/Å² and Å."""
    return OfDistances(
        pairs,
        lambda r: (0.5 * np.sum(constant * (r - length) ** 2), constant * (r - length)),
    )


def double_well(barrier, constant, length):
    """Atom 1 between 0 and 2: wells 0.2 Å off the middle, a spring on the two ends."""

    def function(r):
        x, stretch = (r[0] - r[1]) / 2 / 0.2, r.sum() - 2 * length
        slope = 4 * barrier * (x**2 - 1) * x / 2 / 0.2
        energy = barrier * (x**2 - 1) ** 2 + 0.5 * constant * stretch**2
        return energy, constant * stretch + slope * np.array([1, -1])

    return OfDistances([[0, 1], [1, 2]], function)


def ethanol():
    return molecule("CH3CH2OH")


def stiff_hessian(n_atoms, seed=1):
    """A symmetric positive matrix of about the size of a molecule's Hessian, eV/Å²."""
    random = np.random.default_rng(seed).standard_normal((3 * n_atoms, 3 * n_atoms))
    return 5 * np.eye(3 * n_atoms) + 0.5 * random @ random.T / n_atoms


def emt():
    return EMT()


def soft_emt():
    return Changed(EMT(), force_factor=0.9)


def point_charges(charge):
    return PointCharges(EMT(), {"C": charge, "O": -charge})


#: of an energy that no symmetry has (eV/Å)
TILT = 0.01


def tilted_emt():
    def tilt(atoms, results):
        results["energy"] += TILT * atoms.positions[:, 0].sum()

    return Changed(EMT(), change=tilt)


def broken_emt():
    def spoil(atoms, results):
        results["energy"] = float("nan")

    return Changed(EMT(), change=spoil)


def lennard_jones():
    return LennardJones(sigma=2.5, epsilon=0.1, rc=8.0)


def not_a_calculator():
    return "a string"
