"""What an option is: name, default, unit, allowed values, help; and groups of them.

Importing this module costs nothing but the standard library, so that a framework's argument
parser may use it before torch is loaded.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ..errors import SettingsError


@dataclasses.dataclass(frozen=True)
class Option:
    """What a user must know of one option.

    Attributes:
        help: one or two sentences for ``--help`` and the documentation.
        kind: type of a single value: ``float``, ``int``, ``bool`` (a flag), ``str`` (a name of
            ``choices``, or a path if there are none), ``tuple`` (a list of names) or ``dict``
            (names with whole numbers).
        several: whether the value is a tuple of values of that type.
        unit: physical unit, empty if there is none.
        derived: what the default is, where it depends on other things.
        choices: allowed values with their meaning; empty if the value is free.
        minimum: smallest allowed value (``exclusive`` excludes it).
        maximum: largest allowed value.
        exclusive: whether ``minimum`` itself is refused.
        refused: values refused with a reason of their own.
    """

    help: str
    kind: type = float
    unit: str = ""
    derived: str = ""
    choices: Mapping[str, str] = dataclasses.field(default_factory=dict)
    minimum: float | None = None
    maximum: float | None = None
    exclusive: bool = False
    refused: Mapping[str, str] = dataclasses.field(default_factory=dict)
    several: bool = False

    @property
    def is_file(self) -> bool:
        """Whether a value is the path of a file."""
        return self.kind is str and not self.choices

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.kind is tuple:
            return "names separated by commas"
        if self.kind is dict:
            return "a mapping of names to lists of whole numbers"
        if self.kind is str:
            return "the path of a file"
        if self.kind is bool:
            return "True or False"
        number = {int: "a whole number", float: "a number"}[self.kind]
        if self.minimum is not None:
            number += f" {'above' if self.exclusive else 'of at least'} {self.minimum:g}"
        if self.maximum is not None:
            number += f", at most {self.maximum:g}"
        return number + (f" {self.unit}" if self.unit else "")

    def parse(self, name: str, value: Any) -> Any:
        """Convert ``value`` (a string of the command line, or a value of a config) and check it.

        Raises:
            SettingsError: if it is of the wrong type or not allowed.
        """
        if self.several:
            items = value if isinstance(value, list | tuple) else [value]
            if not items:
                raise SettingsError(name, value, "allowed is one or more values")
            single = dataclasses.replace(self, several=False)
            return tuple(single.parse(name, item) for item in items)
        if isinstance(value, str) and value in self.refused:
            raise SettingsError(name, value, self.refused[value])
        parsed: Any
        if self.kind is bool:
            parsed, valid = value, isinstance(value, bool)
        elif self.kind is tuple:
            given = [value] if isinstance(value, str) else value
            names = [name for item in given for name in str(item).split(",")]
            parsed = tuple(name.strip() for name in names)
            valid = all(parsed) and len(parsed) > 0
        elif self.kind is dict:
            parsed = _numbers_by_name(value)
            valid = parsed is not None
        elif self.kind is str:
            parsed = value
            valid = (
                value in self.choices if self.choices else isinstance(value, str) and value != ""
            )
        else:
            try:
                parsed = self.kind(value)
            except (TypeError, ValueError, OverflowError):
                raise SettingsError(name, value, f"allowed is {self.allowed}") from None
            whole = self.kind is not int or float(value) == parsed
            valid = whole and not isinstance(value, bool) and math.isfinite(parsed)
            valid = valid and (self.maximum is None or parsed <= self.maximum)
            if valid and self.minimum is not None:
                valid = parsed > self.minimum if self.exclusive else parsed >= self.minimum
        if not valid:
            raise SettingsError(name, value, f"allowed is {self.allowed}")
        return parsed


def _numbers_by_name(value: Any) -> dict[str, list[int]] | None:
    """Lists of whole numbers by name, of which one may stand alone; None for anything else."""
    if not isinstance(value, Mapping) or not value:
        return None
    found = {}
    for name, given in value.items():
        numbers = list(given) if isinstance(given, Sequence) else [given]
        whole = all(isinstance(one, int) and not isinstance(one, bool) for one in numbers)
        if isinstance(given, str) or not numbers or not whole:
            return None
        found[str(name)] = numbers
    return found


def option(default: Any, help: str, **keywords: Any) -> Any:
    """A field of a group of options; see :class:`Option` for the keywords.

    With a tuple as its default, it has several values.
    """
    several = isinstance(default, tuple) and keywords.get("kind") is not tuple
    described = Option(help=help, several=several, **keywords)
    return dataclasses.field(default=default, metadata={"option": described})


class Group:
    """Base of a dataclass whose fields are options; values are checked when it is made."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if value is not None or field.default is not None:
                parsed = field.metadata["option"].parse(field.name, value)
                object.__setattr__(self, field.name, parsed)


Some = TypeVar("Some", bound="Groups")


class Groups:
    """Base of a dataclass whose fields are groups; options are known by their own flat names."""

    @classmethod
    def _fields(cls) -> dict[str, tuple[str, dataclasses.Field[Any]]]:
        """The group and the field of each option, by its name."""
        return {
            field.name: (group.name, field)
            for group in dataclasses.fields(cls)  # type: ignore[arg-type]
            for field in dataclasses.fields(group.default_factory)  # type: ignore[arg-type]
        }

    @classmethod
    def options(cls) -> dict[str, Option]:
        """All options by name."""
        return {name: field.metadata["option"] for name, (_, field) in cls._fields().items()}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The defaults by name; None is a derived one."""
        return {name: field.default for name, (_, field) in cls._fields().items()}

    @classmethod
    def create(cls: type[Some], given: Mapping[str, Any]) -> Some:
        """The groups with the options that a user gave.

        Raises:
            SettingsError: for an unknown name or a value that is not allowed.
        """
        known = cls._fields()
        by_group: dict[str, dict[str, Any]] = {}
        for name, value in given.items():
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean '{close[0]}'?" if close else ""
                raise SettingsError(name, value, f"there is no such option{hint}")
            by_group.setdefault(known[name][0], {})[name] = value
        return cls(
            **{
                group.name: group.default_factory(**by_group.get(group.name, {}))  # type: ignore
                for group in dataclasses.fields(cls)  # type: ignore[arg-type]
            }
        )

    def values(self) -> dict[str, Any]:
        """All options with their values."""
        return {
            name: getattr(getattr(self, group), name) for name, (group, _) in self._fields().items()
        }

    def replace(self: Some, **changes: Any) -> Some:
        """The same with some options changed."""
        known = self._fields()
        groups: dict[str, Any] = {}
        for name, value in changes.items():
            group = known[name][0]
            groups[group] = dataclasses.replace(
                groups.get(group, getattr(self, group)), **{name: value}
            )
        return dataclasses.replace(self, **groups)  # type: ignore[type-var]
