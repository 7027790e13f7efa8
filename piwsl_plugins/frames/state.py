"""Charge and spin of a structure, by whatever name its file gives them.

Importing this module costs nothing but the standard library.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

#: names of the total charge in e: those of ASE's calculators and NequIP, and of MACE
CHARGE_KEYS = ("charge", "total_charge")
#: of the spin multiplicity 2S + 1, likewise
SPIN_KEYS = ("spin", "total_spin")


@dataclasses.dataclass(frozen=True)
class State:
    """Charge and spin as a file has them.

    Attributes:
        charge: in e, or None where none was given.
        spin: multiplicity, or None.
        charge_names: under which the charge was given.
        spin_names: under which the spin was given.
    """

    charge: float | None = None
    spin: float | None = None
    charge_names: tuple[str, ...] = ("charge",)
    spin_names: tuple[str, ...] = ("spin",)

    def written(self) -> dict[str, float]:
        """The same values by the names under which they were given; whole numbers are ints."""
        values = dict.fromkeys(self.charge_names, self.charge)
        values |= dict.fromkeys(self.spin_names, self.spin)
        known = {name: value for name, value in values.items() if value is not None}
        return {n: int(value) if value == int(value) else value for n, value in known.items()}


def state_of(info: Mapping[str, Any], charge_key: str = "", spin_key: str = "") -> State:
    """Charge and spin among what a file says of a structure.

    Args:
        info: ``atoms.info``, or whatever holds it.
        charge_key: name of the charge, where it is none of :data:`CHARGE_KEYS`.
        spin_key: likewise, of the spin.

    Raises:
        ValueError: in words, for values that are no numbers, and for two names that disagree.
    """
    charge, charge_names = _value(info, (charge_key,) if charge_key else CHARGE_KEYS)
    spin, spin_names = _value(info, (spin_key,) if spin_key else SPIN_KEYS)
    if spin is not None and spin < 0:
        raise ValueError(f"'{spin_names[0]}' is {spin:g}; it is the multiplicity 2S + 1")
    return State(charge, spin, tuple(charge_names), tuple(spin_names))


def _value(info: Mapping[str, Any], names: tuple[str, ...]) -> tuple[float | None, list[str]]:
    found: dict[str, float] = {}
    for name in names:
        if info.get(name) is None:
            continue
        try:
            # NumPy's scalars, and arrays of one
            value = info[name].item() if hasattr(info[name], "item") else info[name]
            found[name] = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"'{name}' is no number") from None
        if not math.isfinite(found[name]):
            raise ValueError(f"'{name}' is not finite")
    if len(set(found.values())) > 1:
        raise ValueError(f"{' and '.join(f'{n}={v:g}' for n, v in found.items())} disagree")
    return next(iter(found.values()), None), list(found)
