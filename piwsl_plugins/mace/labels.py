"""What PIWSL needs of MACE's training data beyond what MACE reads from it."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from ase.constraints import FixAtoms, FixCartesian
from mace.modules import scaling_classes
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


def has_forces(data: Any) -> Tensor:
    """Which structures have force labels, likewise."""
    return data["forces_weight"] > 0


def labelled(data: Any) -> Tensor:
    """Which structures have energy and force labels."""
    return has_energy(data) & has_forces(data)


def where_labelled(ref: Any, pred: dict[str, Any]) -> dict[str, Any]:
    """Predictions that equal the labels wherever MACE has put zeros for missing ones.

    Missing energies and forces then add nothing to any base loss and its gradient; MACE's
    losses "huber" and "l1l2energyforces" ignore the weight 0 that it gives them
    (``mace/modules/loss.py``). Where all structures are labelled, nothing changes.

    Args:
        ref: MACE batch with the labels.
        pred: the model's output.
    """
    compared = dict(pred)
    if pred.get("energy") is not None:
        compared["energy"] = torch.where(has_energy(ref), pred["energy"], ref["energy"])
    if pred.get("forces") is not None:
        known = has_forces(ref)[ref["batch"]].unsqueeze(-1)
        compared["forces"] = torch.where(known, pred["forces"], ref["forces"])
    return compared


def scale_by_force_labels(args: Namespace, train_loader: Any, atomic_energies: Any) -> None:
    """Where some training structures have no force labels, leave them out of the model's scale.

    MACE's ``rms_forces_scaling`` counts their forces as zeros (``mace/modules/utils.py``,
    ``compute_mean_rms_energy_forces``). With labels everywhere or nowhere its own result stands:
    in the latter case a scale of 1.

    Args:
        args: MACE's arguments before its ``configure_model``; ``mean`` and ``std`` are set.
        train_loader: MACE's training loader.
        atomic_energies: of all heads, as ``configure_model`` gets them.
    """
    if args.scaling != "rms_forces_scaling" or args.std is not None:
        return
    squares: dict[int, list[Tensor]] = {}
    missing = False
    for data in train_loader.dataset:
        known = bool(has_forces(data))
        missing |= not known
        forces = data["forces"] if known else data["forces"][:0]
        squares.setdefault(int(data["head"]), []).append(forces.square().flatten())
    joined = [torch.cat(squares[head]) for head in sorted(squares)]
    if not missing or not any(len(values) for values in joined):
        return
    args.mean, _ = scaling_classes[args.scaling](train_loader, atomic_energies)
    args.std = [float(values.mean().sqrt()) if values.any() else 1.0 for values in joined]
    logging.info(
        "PIWSL: some training structures have no force labels; RMS force of the others, in eV/Å, "
        f"which scales the model (--scaling={args.scaling}): "
        + ", ".join(f"{scale:.4f}" for scale in args.std)
    )


def check_labels(args: Namespace, dataset: Iterable[Any]) -> None:
    """End the run before training if an option needs force labels and no structure has them.

    If the base loss could use them, a warning says so: it then trains on energies alone.
    """
    if args.loss != "energy" and not any(bool(has_forces(data)) for data in dataset):
        logging.warning(
            f"PIWSL: the training data has no force labels under --forces_key={args.forces_key}: "
            f"the base loss '{args.loss}' trains on the other labels alone, and every step still "
            "pays for the forces. If there are labels, correct --forces_key; if not, choose "
            "--piwsl_base_loss=energy"
        )
    name = arguments.settings_of(args).needs_labels()
    if name is not None and not any(bool(labelled(data)) for data in dataset):
        flag = arguments.destination(name)
        arguments.fail(
            f"--{flag}={getattr(args, flag)} needs structures with energy and force labels, but "
            f"the training data has none under --energy_key={args.energy_key} and "
            f"--forces_key={args.forces_key}; correct these keys or choose another value"
        )
