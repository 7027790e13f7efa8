"""Which labels of a batch of MACE's there are: it fills in zeros for those that lack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_LABELS = ("energy", "forces", "stress", "virials", "dipole")


def has_label(data: Any, name: str) -> Tensor:
    """Which structures have a label that counts, ``(n_structures,)``."""
    weight: Tensor = data[f"{name}_weight"]
    return weight > 0


def is_given(data: Any, name: str) -> Tensor:
    """Which structures have a label, of whatever weight, ``(n_structures,)``.

    MACE fills the place of a missing one with zeros of weight 0. One that is there with weight 0
    is its own affair: some of its losses heed this weight, others do not.
    """
    filled = data[name] != 0
    if name == "forces":
        atoms = filled.any(dim=-1)
        filled = torch.zeros_like(data["weight"], dtype=torch.long)
        filled = filled.index_add(0, data["batch"], atoms.long())
    # the weight of a dipole has three components
    either = torch.stack([_any(has_label(data, name), data), _any(filled > 0, data)])
    return either.any(dim=0)


def _any(values: Tensor, data: Any) -> Tensor:
    return values.reshape(len(data["weight"]), -1).any(dim=-1)


def where_labelled(
    ref: Any, pred: dict[str, Any], known: Callable[[Any, str], Tensor] = is_given
) -> dict[str, Any]:
    """Predictions that equal the labels wherever MACE has put zeros for missing ones.

    Missing labels then add nothing to any base loss and its gradient; MACE's losses "huber",
    "l1l2energyforces" and "energy_forces_dipole" ignore the weight 0 that it gives them
    (``mace/modules/loss.py``). Where all structures are labelled, nothing changes.

    Args:
        ref: MACE batch with the labels.
        pred: the model's output.
        known: says which structures have a label.
    """
    compared = dict(pred)
    for name in _LABELS:
        value = pred.get(name)
        if value is not None:
            chosen = known(ref, name)
            chosen = chosen[ref["batch"]] if name == "forces" else chosen
            chosen = chosen.reshape(chosen.shape + (1,) * (value.dim() - chosen.dim()))
            compared[name] = torch.where(chosen, value, ref[name])
    return compared
