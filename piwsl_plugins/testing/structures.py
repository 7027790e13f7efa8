"""Small structures that the tests train on, with labels that are random numbers."""

from __future__ import annotations

import ase
import numpy as np
import torch
from ase.build import molecule
from numpy.typing import NDArray
from torch import Tensor

#: centres of the molecules in a box, in units of its cell
_CENTRES = ((0.0, 0.0, 0.0), (0.5, 0.5, 0.0), (0.5, 0.0, 0.5), (0.0, 0.5, 0.5))


def ethanol(seed: int) -> ase.Atoms:
    """An ethanol molecule, its atoms some 0.1 Å from where they would rest."""
    atoms = molecule("CH3CH2OH")
    return _labelled(atoms, np.random.default_rng(seed))


def liquid(names: str, seed: int) -> ase.Atoms:
    """Up to four small molecules in a skewed periodic box, turned at random.

    Args:
        names: as :func:`ase.build.molecule` knows them, with blanks between.
        seed: of the turns, and of labels.
    """
    random = np.random.default_rng(seed)
    cell = np.array([[5.6, 0.0, 0.0], [-0.2, 5.4, 0.0], [0.4, 0.3, 5.8]])
    box = ase.Atoms(cell=cell, pbc=True)
    for name, centre in zip(names.split(), _CENTRES):
        one = molecule(name)
        arms = one.positions - one.get_center_of_mass()
        one.positions = arms @ random_rotation(random).T + centre @ cell
        box += one
    box.wrap()
    return _labelled(box, random)


def lone_atom() -> ase.Atoms:
    """An oxygen atom, which carries no term, with an energy and no forces."""
    return ase.Atoms("O", [[0.0, 0.0, 0.0]], info={"REF_energy": -100.0})


def mixed_structures() -> list[ase.Atoms]:
    """Molecules and periodic boxes of unequal sizes, and a lone atom."""
    return [
        ethanol(0),
        liquid("CH3OH H2O H2O", 1),
        lone_atom(),
        ethanol(2),
        liquid("H2O CH3OH H2O H2O", 3),
    ]


def random_rotation(random: np.random.Generator) -> NDArray[np.float64]:
    """``(3, 3)``, a turn without a reflection."""
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    turn: NDArray[np.float64] = rotation * np.sign(np.linalg.det(rotation))
    return turn


def turned(atoms: ase.Atoms, rotation: NDArray[np.float64]) -> ase.Atoms:
    """A structure with its cell, turned about the origin."""
    found: ase.Atoms = atoms.copy()
    found.set_cell(atoms.cell.array @ rotation.T)
    found.positions = atoms.positions @ rotation.T
    return found


def moved(atoms: ase.Atoms, displacement: Tensor) -> ase.Atoms:
    """A structure with its atoms elsewhere, by ``(n_atoms, 3)`` in Å."""
    found: ase.Atoms = atoms.copy()
    found.positions = atoms.positions + displacement.detach().numpy()
    return found


def some_gradient(atoms: ase.Atoms) -> Tensor:
    """What stands for the gradient of a supervised loss, ``(n_atoms, 3)``; none is 0."""
    return torch.from_numpy(np.cos(7.0 * atoms.positions) + np.array([0.0, 0.0, 2.0]))


def _labelled(atoms: ase.Atoms, random: np.random.Generator) -> ase.Atoms:
    """With atoms off their places, and with an energy and forces of the usual sizes."""
    atoms.positions += 0.05 * random.normal(size=(len(atoms), 3))
    atoms.arrays["REF_forces"] = random.normal(size=(len(atoms), 3))
    energies = {"H": -12.0, "C": -50.0, "O": -104.0}
    atoms.info["REF_energy"] = sum(energies[symbol] for symbol in atoms.symbols) + random.normal()
    return atoms
