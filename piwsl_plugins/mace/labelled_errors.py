"""MACE's errors on validation and test data, of the labels that there are."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from mace.tools.train import MACELoss
from mace.tools.utils import filter_nonzero_weight
from torch import Tensor

#: lists of errors and labels that MACE 0.3.16 keeps whole, by the label's name
_WHOLE = {
    "delta_es_per_atom": "energy",
    "fs": "forces",
    "delta_virials_per_atom": "virials",
    "mus": "dipole",
    "delta_mus_per_atom": "dipole",
}


class LabelledErrors(MACELoss):
    """Errors of labels with a weight alone, also those per atom and relative ones.

    MACE 0.3.16 (mace/tools/train.py) leaves missing labels, for which it has zeros, out of the
    errors of total energies, forces and stresses, but not out of energies and virials per atom,
    dipoles, and the size of forces to which their errors are relative.
    """

    def update(self, batch: Any, output: dict[str, Tensor]) -> None:
        """Add a batch."""
        before = {name: len(getattr(self, name)) for name in _WHOLE}
        super().update(batch, output)  # type: ignore[no-untyped-call]
        for name, label in _WHOLE.items():
            values, weight = getattr(self, name), batch[f"{label}_weight"]
            if len(values) > before[name]:
                forces, dipole = label == "forces", label == "dipole"
                filter_nonzero_weight(batch, values, batch.weight, weight, forces, not dipole)


@contextlib.contextmanager
def labelled_errors() -> Iterator[None]:
    """Let MACE's ``evaluate`` take these errors inside the context."""
    module: Any = sys.modules["mace.tools.train"]  # as an attribute of the package it is a function
    module.MACELoss = LabelledErrors
    try:
        yield
    finally:
        module.MACELoss = MACELoss
