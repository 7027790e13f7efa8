"""What PIWSL needs of MACE's training data beyond what MACE reads from it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from ase.constraints import FixAtoms, FixCartesian
from torch import Tensor

from . import arguments


def move_mask(atoms: Any) -> np.ndarray:
    """ASE's constraints as ``(n_atoms, 3)`` bool, True where an atom may move.

    MACE drops constraints, but passes on properties that it does not know. Constraints other
    than FixAtoms and FixCartesian do not single out atoms and are ignored.
    """
    mask = np.ones((len(atoms), 3), dtype=bool)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            mask[constraint.index] = False
        elif isinstance(constraint, FixCartesian):
            mask[constraint.index] &= ~np.asarray(constraint.mask, dtype=bool)
    return mask


def all_movable(positions: Tensor) -> Tensor:
    """The mask of a structure without constraints, ``(n_atoms, 3)`` bool."""
    return torch.ones_like(positions, dtype=torch.bool)


def has_energy(data: Any) -> Tensor:
    """Which structures have an energy label: MACE gives missing labels weight 0."""
    return data["energy_weight"] > 0


def labelled(data: Any) -> Tensor:
    """Which structures have energy and force labels."""
    return has_energy(data) & (data["forces_weight"] > 0)


def check_labels(args: Namespace, dataset: Iterable[Any]) -> None:
    """End the run before training if an option needs force labels and no structure has them."""
    name = arguments.settings_of(args).needs_labels()
    if name is not None and not any(bool(labelled(data)) for data in dataset):
        flag = arguments.destination(name)
        arguments.fail(
            f"--{flag}={getattr(args, flag)} needs structures with energy and force labels, but "
            f"the training data has none under --energy_key={args.energy_key} and "
            f"--forces_key={args.forces_key}; correct these keys or choose another value"
        )
