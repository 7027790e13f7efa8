"""Levels of theory of NequIP's frames: which of them carry PIWSL terms and Hessian labels.

A data set of several methods, or for a model with several heads, has a field of whole numbers in
each frame that says whose labels it has: ``dataset``, from NequIP's ``DatasetIndexTransform``,
``head``, or what another transform adds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from nequip.data import AtomicDataDict
from nequip.data._key_registry import get_field_type
from numpy.typing import NDArray

from ..errors import SettingsError
from .frames import Fields

#: fields that say it wherever they come from
KNOWN = (AtomicDataDict.DATASET_KEY, "head")
#: whole numbers of a frame that say something else
_OTHERS = (
    AtomicDataDict.NUM_NODES_KEY,
    AtomicDataDict.TOTAL_CHARGE_KEY,
    AtomicDataDict.TOTAL_SPIN_KEY,
)
#: values that a message names
_N_VALUES = 8

Chosen = Mapping[str, Sequence[int]]


def carrying(batch: Fields, chosen: Chosen, n: int) -> NDArray[np.bool_]:
    """Which structures of a batch carry terms, ``(n,)``.

    Args:
        batch: of NequIP's.
        chosen: values by field; a field that the batch lacks says nothing.
        n: number of structures.
    """
    carry = np.ones(n, dtype=bool)
    for name, values in chosen.items():
        if name in batch:
            carry &= np.isin(batch[name].view(-1).cpu().numpy(), list(values))
    return carry


def level_of(raw: Fields, seen: Fields) -> dict[str, int]:
    """The fields of a frame that say its level of theory, with their values.

    Args:
        raw: the frame before the data transforms.
        seen: after them.
    """
    return {
        name: int(value)
        for name, value in seen.items()
        if value.numel() == 1
        and not (value.is_floating_point() or name in _OTHERS)
        and (name in KNOWN or name not in raw)
        and get_field_type(name, error_on_unregistered=False) == "graph"
    }


class Levels:
    """The levels of theory of a data set, found frame by frame."""

    def __init__(self, chosen: Chosen | None) -> None:
        """Args: chosen: the option ``levels``."""
        self._chosen = chosen
        self._found: dict[str, set[int]] = {}
        self._n_carrying = 0

    def of(self, raw: Fields, seen: Fields) -> str:
        """The level of a frame that carries nothing, in words; "" of one that does.

        Raises:
            SettingsError: for a frame without a field that the option names.
        """
        level = level_of(raw, seen)
        for name in self._chosen or ():
            if name not in seen or seen[name].numel() != 1:
                known = ", ".join(level) or "none"
                raise SettingsError(
                    "levels",
                    self._chosen,
                    f"a frame has no field '{name}'; fields that say whose labels it has: {known}",
                )
            level[name] = int(seen[name])
        for name, value in level.items():
            self._found.setdefault(name, set()).add(value)
        others = [
            f"{name} {level[name]}"
            for name, values in (self._chosen or {}).items()
            if level[name] not in values
        ]
        self._n_carrying += not others
        return ", ".join(others)

    def check(self, option: str, path: str | None, what: str) -> None:
        """Refuse labels that could be of several levels, and levels that no frame has.

        Args:
            option: that names Hessian labels.
            path: its value, or None without labels.
            what: the data set, in words.

        Raises:
            SettingsError: naming field and values.
        """
        several = {name: values for name, values in self._found.items() if len(values) > 1}
        if self._chosen is None and several and path is not None:
            name, values = next(iter(several.items()))
            raise SettingsError(
                option,
                path,
                f"the {what} has frames of several levels of theory ({name} {_listed(values)}), "
                "and a Hessian belongs to one: say which frames have these labels, such as levels: "
                f"{{{name}: [{min(values)}]}} in the loss",
            )
        if self._chosen is not None and self._found and not self._n_carrying:
            found = "; ".join(f"{name} {_listed(values)}" for name, values in self._found.items())
            raise SettingsError(
                "levels", self._chosen, f"no frame of the {what} is of them; there are {found}"
            )


def _listed(values: set[int]) -> str:
    listed = list(map(str, sorted(values)))
    return ", ".join([*listed[:_N_VALUES], "…"] if len(listed) > _N_VALUES else listed)
