"""Calculators that a function makes: ``module:factory`` and ``module:factory(name="value")``."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError, reason_of

#: parameters of a factory that are a structure's charge (e) and multiplicity (2S + 1); one called
#: "spin" is none of them, as it is 2S in some programs
STATE_PARAMETERS = {"charge": ("charge",), "spin": ("multiplicity", "mult")}
_FORM = re.compile(r"(?P<module>[A-Za-z_][\w.]*):(?P<call>[A-Za-z_].*)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class FactoryCall:
    """A function or class of a module, and the literal arguments that it is called with.

    Attributes:
        module: where it is imported from.
        attribute: its name there, with dots for what lies in classes.
        arguments: given by position.
        keywords: given by name.
    """

    module: str
    attribute: str
    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> FactoryCall | None:
        """Understand ``text``, of which nothing is evaluated; None if it has another form.

        Raises:
            InputError: for what is no call of a function with literal values.
        """
        form = _FORM.fullmatch(text)
        if form is None:
            return None
        try:
            expression = ast.parse(form["call"].strip(), mode="eval").body
        except (SyntaxError, ValueError) as error:  # ValueError: of a null byte
            raise InputError(f"{text}: {getattr(error, 'msg', error)}; {_REMEDY}") from error
        given = expression if isinstance(expression, ast.Call) else None
        attribute = ast.unparse(expression if given is None else given.func)
        if not all(part.isidentifier() for part in attribute.split(".")):
            raise InputError(f"{text}: '{attribute}' names no function or class; {_REMEDY}")
        if given is None:
            return cls(form["module"], attribute)
        keywords = {keyword.arg: _literal(text, keyword.value) for keyword in given.keywords}
        if None in keywords:
            raise InputError(f"{text}: ** is not understood here; {_REMEDY}")
        if len(keywords) < len(given.keywords):
            raise InputError(f"{text}: an argument is given twice; {_REMEDY}")
        named = {name: value for name, value in keywords.items() if name is not None}
        return cls(
            form["module"], attribute, tuple(_literal(text, value) for value in given.args), named
        )

    @property
    def files(self) -> list[Path]:
        """The module's file, and the files that arguments name, also in lists and dictionaries.

        Raises:
            InputError: for a module that cannot be found.
        """
        try:
            spec = importlib.util.find_spec(self.module)
        except Exception as error:  # importing what the module is part of may lead to any
            raise InputError(f"{self.module}: {reason_of(error)}") from error
        named = [*_texts(self.arguments), *_texts(self.keywords)]
        # os.path passes over texts that can be no names, as those of a whole input are
        return [Path(n) for n in ((spec and spec.origin) or "", *named) if os.path.isfile(n)]

    def import_it(self) -> Callable[..., Any]:
        """The function or class."""
        found: Any = importlib.import_module(self.module)
        for part in self.attribute.split("."):
            found = getattr(found, part)
        return found  # type: ignore[no-any-return]

    def state_parameters(self, factory: Callable[..., Any]) -> dict[str, str]:
        """The parameters by which ``factory`` is told "charge" and "spin" of a structure.

        Those that are given as arguments here are none. ASE's calculators name theirs in
        ``default_parameters``.
        """
        try:
            names = set(inspect.signature(factory).parameters)
        except (TypeError, ValueError):  # of a class of compiled code
            names = set()
        names |= set(getattr(factory, "default_parameters", None) or ())
        found = {
            state: next((name for name in parameters if name in names), None)
            for state, parameters in STATE_PARAMETERS.items()
        }
        fixed = self.fixed_state
        return {s: name for s, name in found.items() if name is not None and s not in fixed}

    @property
    def fixed_state(self) -> dict[str, float]:
        """ "charge" and "spin" that are given as arguments, the same for all structures."""
        return {
            state: self.keywords[name]
            for state, parameters in STATE_PARAMETERS.items()
            for name in parameters
            if self.keywords.get(name) is not None
        }


_REMEDY = (
    'write module:factory or module:factory(argument="value", number=1), the values literal '
    "(text in quotes, numbers, True, False, None, lists, tuples, dictionaries), and the whole in "
    "quotes for the shell"
)


def _literal(text: str, node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError) as error:  # TypeError: of a list as the key of a dictionary
        raise InputError(f"{text}: '{ast.unparse(node)}' is no literal value; {_REMEDY}") from error


def _texts(value: Any) -> list[str]:
    """All text in a literal value."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for pair in value.items() for each in pair for text in _texts(each)]
    if isinstance(value, list | tuple | set):
        return [text for each in value for text in _texts(each)]
    return []
