"""What ends a trajectory: broken and new bonds, collapse, heat, volume, numbers not finite."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import find_mic
from ase.neighborlist import neighbor_list
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ...frames.bonds import bonds
from ..dynamics import COLLAPSE_FACTOR, RUNAWAY_FACTOR
from .pair_names import pair_name

#: a bond longer than this multiple of the sum of its covalent radii is broken; as in reports
BROKEN_BEYOND = 1.5
#: a cell whose volume changed by more than this factor has collapsed or burst
VOLUME_FACTOR = 2.0
#: elements between which bonds have a length; metals coordinate as they like
_NONMETALS = frozenset((1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 32, 33, 34, 35, 51, 52, 53))
#: N, O, F, S, Cl: elements between which a proton moves, at room temperature in some molecules
_PROTON_HOLDERS = frozenset((7, 8, 9, 16, 17))


class Soundness:
    """What a trajectory must stay, learned from the structure that it begins with."""

    def __init__(self, start: Atoms, temperature: float, allow_reactions: bool) -> None:
        """Look at the start.

        Args:
            start: the structure.
            temperature: of the thermostat, in K.
            allow_reactions: whether bonds may break and form.
        """
        self._temperature = temperature
        self._volume = start.get_volume() if start.pbc.all() else None
        self._molecules = (
            None if allow_reactions or not consists_of_molecules(start) else _Molecules(start)
        )

    def problem(self, atoms: Atoms) -> str:
        """What is wrong with a structure whose calculator has energy and forces; "" if nothing.

        Words are the same for the same kind of problem, so that they can be counted.
        """
        numbers = (atoms.positions, atoms.cell.array, atoms.get_momenta(), atoms.get_forces())
        if not all(np.isfinite(array).all() for array in numbers):
            return "positions or forces not finite"
        if not np.isfinite(atoms.get_potential_energy()):
            return "energy not finite"
        if self._volume is not None:
            change = atoms.get_volume() / self._volume
            if not 1 / VOLUME_FACTOR < change < VOLUME_FACTOR:
                return "cell burst" if change > 1 else "cell collapsed"
        if len(neighbor_list("i", atoms, COLLAPSE_FACTOR * covalent_radii[atoms.numbers])):
            return "atoms collapsed onto each other"
        if atoms.get_temperature() > RUNAWAY_FACTOR * self._temperature:
            return "temperature ran away"
        return "" if self._molecules is None else self._molecules.problem(atoms)


def consists_of_molecules(atoms: Atoms) -> bool:
    """Whether no atom is bonded, over others, to its own periodic image.

    Two cells side by side hold twice as many fragments of molecules, but not of a crystal.
    """
    repeated = atoms.repeat(1 + atoms.pbc.astype(int))
    return _n_fragments(repeated) == _n_fragments(atoms) * (len(repeated) // len(atoms))


def _n_fragments(atoms: Atoms) -> int:
    first, second, _ = bonds(atoms)
    links = coo_array((np.ones(len(first)), (first, second)), shape=(len(atoms), len(atoms)))
    return int(connected_components(links, directed=False)[0])


class _Molecules:
    """The bonds between nonmetals.

    A hydrogen atom bonded to N, O, F, S or Cl may be handed to another such atom, but must stay
    with one of them; every other bond must stay, and no other may form.
    """

    def __init__(self, start: Atoms) -> None:
        numbers = start.numbers
        radii = covalent_radii[numbers]
        first, second, _ = bonds(start)
        nonmetal = np.isin(numbers, list(_NONMETALS))
        holder = np.isin(numbers, list(_PROTON_HOLDERS))
        counted = (first < second) & nonmetal[first] & nonmetal[second]
        first, second = first[counted], second[counted]
        hydrogen = numbers == 1
        acidic = (hydrogen[first] & holder[second]) | (hydrogen[second] & holder[first])
        self._first, self._second = first[~acidic], second[~acidic]
        self._limits = BROKEN_BEYOND * (radii[self._first] + radii[self._second])
        ends = np.concatenate([first[acidic], second[acidic]])
        self._protons = np.unique(ends[hydrogen[ends]])
        self._holders = np.flatnonzero(holder)
        self._reach = BROKEN_BEYOND * (radii[self._protons][:, None] + radii[self._holders])
        # pairs near at the start, bonded or nearly so, cannot become bonds
        near = neighbor_list("ij", start, BROKEN_BEYOND * radii)
        self._near = _pairs(near[0], near[1], len(start))
        self._unbondable = ~nonmetal
        self._proton, self._holder = np.isin(np.arange(len(start)), self._protons), holder

    def problem(self, atoms: Atoms) -> str:
        """A broken or new bond by its elements, or ""."""
        lengths = self._distances(atoms, self._first, self._second)
        if (lengths > self._limits).any():
            worst = int(np.argmax(lengths / self._limits))
            ends = self._first[worst], self._second[worst]
            return f"{pair_name(*atoms.numbers[list(ends)])} bond broken"
        if len(self._protons):
            pairs = np.meshgrid(self._protons, self._holders, indexing="ij")
            away = self._distances(atoms, pairs[0].ravel(), pairs[1].ravel())
            lost = (away.reshape(self._reach.shape) > self._reach).all(axis=1)
            if lost.any():
                return "proton detached"
        first, second, _ = bonds(atoms)
        handed = (self._proton[first] & self._holder[second]) | (
            self._proton[second] & self._holder[first]
        )
        excluded = handed | self._unbondable[first] | self._unbondable[second]
        excluded |= np.isin(_pairs(first, second, len(atoms)), self._near)
        if not excluded.all():
            new = int(np.argmin(excluded))
            return f"{pair_name(*atoms.numbers[[first[new], second[new]]])} bond formed"
        return ""

    @staticmethod
    def _distances(atoms: Atoms, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        vectors = atoms.positions[second] - atoms.positions[first]
        if not len(vectors):
            return np.zeros(0)
        distances: np.ndarray = find_mic(vectors, atoms.cell, atoms.pbc)[1]
        return distances


def _pairs(first: np.ndarray, second: np.ndarray, n_atoms: int) -> np.ndarray:
    """One number for each ordered pair of atoms."""
    numbers: np.ndarray = first.astype(np.int64) * n_atoms + second
    return numbers
