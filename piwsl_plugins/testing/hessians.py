"""Hessian labels of structures, from random springs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ase
import numpy as np
from numpy.typing import NDArray

from ..labels.hessian_labels import HessianLabel


def label_of(structure: ase.Atoms, **known: Any) -> HessianLabel:
    """What is known of a structure, as a label of it."""
    return HessianLabel(
        numbers=structure.numbers,
        positions=structure.positions,
        cell=structure.cell.array,
        pbc=structure.pbc,
        **known,
    )


def components_of(atoms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the components of some atoms stand among those of all, ``(3 n,)``."""
    return (3 * atoms[:, None] + np.arange(3)).ravel()


def spring_hessian(atoms: ase.Atoms, seed: int = 0) -> NDArray[np.float64]:
    """Random springs at their rest lengths between all atoms, stiff ones between bonded ones.

    Moving and turning cost nothing, as of any structure, and sizes are those of molecules.

    Returns:
        ``(3 n_atoms, 3 n_atoms)`` in eV/Å².
    """
    n, bonds = len(atoms), atoms.positions[:, None] - atoms.positions
    lengths = np.linalg.norm(bonds, axis=-1) + np.eye(n)
    constants = np.random.default_rng(seed).uniform(10.0, 20.0, (n, n))
    stiffness = (constants + constants.T) / lengths**6
    blocks = -np.einsum("ij,ija,ijb->iajb", stiffness, bonds, bonds)
    atom = np.arange(n)
    blocks[atom, :, atom] = -blocks.sum(axis=2)
    hessian: NDArray[np.float64] = blocks.reshape(3 * n, 3 * n)
    return hessian


def springs(atoms: ase.Atoms, seed: int = 0) -> HessianLabel:
    """A label with the whole Hessian of :func:`spring_hessian`."""
    return label_of(atoms, hessian=spring_hessian(atoms, seed))


def labels_of(structures: Sequence[ase.Atoms]) -> list[HessianLabel]:
    """A whole Hessian, a block of some atoms, their whole rows, and probes, in turn."""
    labels = []
    for index, atoms in enumerate(structures):
        n, random = len(atoms), np.random.default_rng(index)
        hessian = spring_hessian(atoms, index)
        some = np.array([0, 2, 5])
        rows = hessian[components_of(some)]
        kind = index % 4
        if kind == 0:
            labels.append(label_of(atoms, hessian=hessian))
        elif kind == 1:
            labels.append(label_of(atoms, hessian=rows[:, components_of(some)], atoms=some))
        elif kind == 2:
            labels.append(label_of(atoms, hessian=rows, atoms=some))
        else:
            probes = random.uniform(-0.02, 0.02, size=(3, n, 3))
            changes = random.normal(size=(3, n, 3))
            labels.append(label_of(atoms, displacements=probes, force_changes=changes))
    return labels
