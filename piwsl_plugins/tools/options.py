"""Groups of options on the command line of a verb: as arguments, and in the words of errors."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InputError, SettingsError
from ..options.option import Group


class CheckedSettings(Group):
    """A group of options of a verb.

    Raises:
        InputError: for a value that is not allowed, as the command line has it.
    """

    def __post_init__(self) -> None:
        try:
            super().__post_init__()
        except SettingsError as error:
            value = _words(getattr(self, error.name))
            raise InputError(f"--{error.name}={value}: {error.remedy}") from None

    def require(self, name: str, valid: bool, allowed: str) -> None:
        """Refuse the value of a setting unless it is valid.

        Raises:
            InputError: naming option, value and what is allowed.
        """
        if not valid:
            raise InputError(f"--{name}={_words(getattr(self, name))}: allowed is {allowed}")


def add(
    group: argparse._ActionsContainer,
    settings: type,
    *names: str,
    quick: Mapping[str, Any] | None = None,
) -> None:
    """Options named as settings; one that is left out keeps its default.

    Args:
        group: where to add them.
        settings: a class of :class:`CheckedSettings`.
        names: of the settings.
        quick: other defaults, that a ``--quick`` gives.
    """
    fields = {field.name: field for field in dataclasses.fields(settings)}
    for name in names:
        default, described = fields[name].default, fields[name].metadata["option"]
        keywords: dict[str, Any] = {"default": argparse.SUPPRESS, "help": described.help}
        if described.kind is bool:
            group.add_argument(f"--{name}", action="store_true", **keywords)
            continue
        other = f"; quick: {_words(quick[name])}" if quick and name in quick else ""
        shown = described.derived if default is None else _words(default)
        keywords["help"] += f" (default: {shown}{other})"
        if described.several:
            keywords["nargs"] = "+"
        if described.choices:
            keywords["choices"] = list(described.choices)
        else:
            metavar = {int: "N", float: described.unit or "X", str: "NAME"}[described.kind]
            keywords |= {"type": described.kind, "metavar": metavar}
        group.add_argument(f"--{name}", **keywords)


def chosen(options: argparse.Namespace, settings: type) -> dict[str, Any]:
    """The settings that a user gave, by name."""
    names = {field.name for field in dataclasses.fields(settings)}
    given = {name: value for name, value in vars(options).items() if name in names}
    return {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}


def pair(option: str, text: str) -> tuple[str, str]:
    """``NAME=VALUE`` as two strings.

    Raises:
        InputError: for another form.
    """
    name, _, value = text.partition("=")
    if not name.replace("-", "").replace("_", "").isalnum() or not value:
        raise InputError(f"{option} {text!r}: write NAME=VALUE, the name of letters and digits")
    return name, value


def pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Several :func:`pair` of one option, each name once.

    Raises:
        InputError: for another form, and a name that is there twice.
    """
    found = [pair(option, text) for text in texts]
    for name, _ in found:
        if [other for other, _ in found].count(name) > 1:
            raise InputError(f"{option}: the name '{name}' is given twice")
    return dict(found)


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
