"""Options of a training in a loop of one's own: those of the settings, by their names."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from ..errors import SettingsError
from .settings import Settings

#: options of trainers alone, and what to do
_OF_TRAINERS = {
    "hessian_valid_file": "your loop validates; compare the model with held-out Hessians by "
    "'piwsl report'",
    "softening_guard": "your loop validates; watch the force error there",
}
#: files in whose place objects may be given, and the name of this argument
_IN_PLACE = {"hessian_file": "hessians", "pool_file": "pool"}

SomeSettings = TypeVar("SomeSettings", bound=Settings)


def options_of_loop(
    options: Mapping[str, Any], objects: Mapping[str, Any], left_out: Collection[str] = ()
) -> dict[str, Any]:
    """The options of a loop, of which a trainer's alone are refused.

    Args:
        options: by name, as the user gave them.
        objects: what is given in place of files: "hessians" and "pool", None where it is not.
        left_out: further options of the framework that only its trainer has.

    Raises:
        SettingsError: naming the option, the value and the remedy.
    """
    given = dict(options)
    for name in given.keys() & set(left_out):
        raise SettingsError(name, given[name], "only the framework's own trainer has it")
    for name in _OF_TRAINERS.keys() & given.keys():
        raise SettingsError(name, given[name], _OF_TRAINERS[name])
    for name, argument in _IN_PLACE.items():
        if objects[argument] is not None:
            if given.get(name) is not None:
                raise SettingsError(name, given[name], f"give this or {argument}, not both")
            given[name] = f"{argument} of this call"
        elif given.get(name) is not None:
            given[name] = os.fspath(given[name])
    return given


def decided_in_loop(
    settings: SomeSettings, uses_forces: bool, forces_weight: float | None
) -> SomeSettings:
    """The settings with what depends on the supervised loss.

    Args:
        settings: of the loop.
        uses_forces: whether this loss needs forces.
        forces_weight: weight of its forces, as in :meth:`Settings.decided`; None where it is not
            known.

    Raises:
        SettingsError: if a default needs this weight.
    """
    hessian = settings.hessian
    asked = hessian.hessian_file is not None and hessian.hessian_weight is None
    if asked and forces_weight is None:
        raise SettingsError(
            "hessian_weight",
            None,
            "by default it is the weight of the forces, which this loss does not tell; give "
            "hessian_weight, to be compared with the weight of forces in your loss, or "
            "forces_weight, this weight itself",
        )
    return settings.decided(uses_forces, 0.0 if forces_weight is None else forces_weight)
