"""Which labels MACE's losses read, and which of them a structure has."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable
from typing import Any

import numpy as np

_EF = ("energy", "forces")
#: by name of a loss of MACE 0.3.16 (mace/modules/loss.py), and of ours on energies alone
_READ: dict[str, tuple[str, ...]] = {
    "energy": ("energy",),
    "weighted": _EF,
    "l1l2energyforces": _EF,
    "virials": (*_EF, "virials"),
    "stress": (*_EF, "stress"),
    "huber": (*_EF, "stress"),
    "universal": (*_EF, "stress"),
    "energy_forces_dipole": (*_EF, "dipole"),
}


def read_by(args: Namespace, loss: str) -> tuple[str, ...]:
    """Names of the labels that enter a run's loss.

    Also those of weight 0: in MACE's losses they are multiplied by it, and NaN stays NaN.

    Args:
        args: MACE's, as it parsed them or later.
        loss: name of the base loss.
    """
    return _READ["universal" if replays(args) else loss]


def weighed(args: Namespace, stage_two: bool = False) -> frozenset[str]:
    """Names of the labels that enter the loss of a stage with a weight.

    Args:
        args: MACE's, resolved.
        stage_two: whether those of stage two are meant.
    """
    prefix = "swa_" if stage_two else ""
    names = read_by(args, args.loss)
    return frozenset(name for name in names if getattr(args, f"{prefix}{name}_weight"))


def labels_of(config: Any, names: Iterable[str]) -> frozenset[str]:
    """Those of some labels that a configuration of MACE's has, with a weight."""
    if not config.weight:
        return frozenset()
    return frozenset(
        name
        for name in names
        if config.properties.get(name) is not None and _counts(config.property_weights.get(name))
    )


def _counts(weight: Any) -> bool:
    """Whether a weight, 1 where none is given, is not 0; that of a dipole may be a vector."""
    return weight is None or bool(np.any(weight))


def replays(args: Namespace) -> bool:
    """Whether MACE 0.3.16 (mace/cli/run_train.py) will take its universal loss, for replay."""
    return bool(
        args.foundation_model is not None
        and args.multiheads_finetuning
        and (args.foundation_model in ("small", "medium", "large") or args.pt_train_file)
    )
