"""Options of a training in a loop of one's own: those of the settings, by their names."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from ase import Atoms

from ..errors import SettingsError
from ..labels.hessian_labels import HessianLabel
from .settings import Settings

#: options of trainers alone, and what to do
_OF_TRAINERS = {
    "hessian_valid_file": "your loop validates; compare the model with held-out Hessians by "
    "'piwsl report'",
    "softening_guard": "your loop validates; watch the force error there",
}
#: files in whose place objects may be given, and the name of this argument
_IN_PLACE = {"hessian_file": "hessians", "pool_file": "pool"}
_KINDS = {"hessians": (HessianLabel, "labels of read_labels"), "pool": (Atoms, "ase.Atoms")}

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
    for name in given:
        if name.startswith("piwsl_"):
            raise SettingsError(name, given[name], "here options have no prefix; remove 'piwsl_'")
    for name in given.keys() & set(left_out):
        raise SettingsError(name, given[name], "only the framework's own trainer has it")
    for name in _OF_TRAINERS.keys() & given.keys():
        raise SettingsError(name, given[name], _OF_TRAINERS[name])
    for name, argument in _IN_PLACE.items():
        if objects[argument] is not None:
            _check_objects(argument, objects[argument])
            if given.get(name) is not None:
                raise SettingsError(name, given[name], f"give this or {argument}, not both")
            given[name] = f"{argument} of this call"
        elif given.get(name) is not None:
            given[name] = os.fspath(given[name])
    return given


def _check_objects(argument: str, given: Any) -> None:
    """Refuse what is no list of labels, or of frames."""
    kind, words = _KINDS[argument]
    wrong = type(given).__name__
    if isinstance(given, Sequence) and not isinstance(given, (str, kind)):
        others = [number for number, one in enumerate(given) if not isinstance(one, kind)]
        if not others:
            return
        wrong = f"{type(given[others[0]]).__name__} as number {others[0]} (from 0)"
    raise TypeError(f"PIWSL: {argument}: a list of {words} is needed, but this is {wrong}")


def check_structures(given: Any) -> None:
    """Refuse training structures that have no numbers, such as a loader."""
    if isinstance(given, Mapping) or not hasattr(given, "__getitem__"):
        raise TypeError(
            "PIWSL: structures: the dataset of the training, such as loader.dataset, or a list of "
            f"structures is needed, but this is {type(given).__name__}"
        )


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
    if asked and forces_weight == 0:
        raise SettingsError(
            "hessian_weight",
            None,
            "by default it is the weight of the forces, which is 0 in this loss, so that the "
            "labels would do nothing; give hessian_weight",
        )
    if asked and forces_weight is None:
        raise SettingsError(
            "hessian_weight",
            None,
            "by default it is the weight of the forces, which this loss does not tell; give "
            "hessian_weight, to be compared with the weight of forces in your loss, or "
            "forces_weight, this weight itself",
        )
    return settings.decided(uses_forces, 0.0 if forces_weight is None else forces_weight)
