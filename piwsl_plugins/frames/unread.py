"""Charges and spins that a file of extended XYZ holds, and that its reader does not ask for."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from .state import CHARGE_KEYS, SPIN_KEYS

_ENDINGS = (".xyz", ".extxyz")
#: multiplicities up to this are the lowest of some number of electrons
_LOWEST = 2.0


def unread_state(path: Path | str, read: Collection[str]) -> tuple[int, str] | None:
    """The first frame with a charge, or a spin above the lowest, that nobody reads.

    Only the line of each frame that names its values is looked at; what is no extended XYZ is left
    to its reader.

    Args:
        path: a file of structures.
        read: names that are read; where a frame has one of them, others mean nothing.

    Returns:
        its number, from 0, and "charge=1" or the like; None if there is none.
    """
    if not str(path).endswith(_ENDINGS) or not Path(path).is_file():
        return None
    with open(path, encoding="utf-8", errors="replace") as file:
        for number in itertools.count():
            try:
                n_atoms = int(file.readline())
            except ValueError:  # the end, or what ASE's reader will say
                return None
            values = _values(file.readline())
            for names in (CHARGE_KEYS, SPIN_KEYS):
                if not values.keys() & set(read) & set(names):
                    for name in values.keys() & set(names):
                        if _matters(name, values[name]):
                            return number, f"{name}={values[name]:g}"
            next(itertools.islice(file, n_atoms - 1, n_atoms), None)
    return None


def _values(line: str) -> dict[str, Any]:
    """Charges and spins among what a frame's second line says."""
    from ase.io.extxyz import key_val_str_to_dict

    names = (*CHARGE_KEYS, *SPIN_KEYS)
    if not any(name in line for name in names):
        return {}
    return {name: value for name, value in key_val_str_to_dict(line).items() if name in names}


def _matters(name: str, value: Any) -> bool:
    if not isinstance(value, int | float | np.number) or not np.isfinite(value):
        return False
    return bool(value != 0 if name in CHARGE_KEYS else value > _LOWEST)
