"""What a user may name as calculator or model, understood before anything is loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Any

from ..errors import InputError
from . import mace_names
from .factories import FactoryCall
from .model_files import ENDINGS, kind_by_content, kind_by_name
from .states import READ

XTB_METHODS = ("GFN2-xTB", "GFN1-xTB")
#: tblite's "accuracy"; its default of 1 leaves noise of 0.02 eV/Å² in a Hessian of ethanol
XTB_ACCURACY = 0.01
#: for help texts
FORMS = (
    f"{', '.join(XTB_METHODS)} (pip install tblite); a MACE .model, or MACE's name of a foundation "
    "model (mace_mp:medium-mpa-0, mace_off:small, small, ...); a NequIP .nequip.zip, .ckpt, "
    ".nequip.pt2 or .nequip.pth; or 'module:factory' or 'module:factory(argument=\"value\")', a "
    "function or class that gives an ASE calculator"
)
_PACKAGES = {
    "mace": "mace",
    "mace-name": "mace",
    "nequip-compiled": "nequip",
    "nequip-saved": "nequip",
    "xtb": "tblite",
}
#: what an environment cannot hold beside each
_OTHER_FRAMEWORK = {"mace": "nequip", "nequip": "mace"}


@dataclasses.dataclass(frozen=True)
class CalculatorSource:
    """A calculator as named on the command line.

    Attributes:
        source: path of a file, ``module:factory`` with or without arguments, a name of MACE's, or
            a method of :data:`XTB_METHODS`.
        kind: "mace", "mace-name", "nequip-compiled", "nequip-saved", "factory" or "xtb".
        head: head of a multihead MACE model, or None.
        name: what a report calls it; empty for the one calculator of other verbs.
        charges: what the user says of charge and spin, one of :data:`..states.CHARGES`, or None.
    """

    source: str
    kind: str
    head: str | None = None
    name: str = ""
    charges: str | None = None

    @classmethod
    def parse(
        cls, text: str, head: str | None = None, name: str = "", charges: str | None = None
    ) -> CalculatorSource:
        """Understand ``text``.

        Raises:
            InputError: if it is not understood, the file does not exist, or ``head`` has no use.
        """
        found = cls._parse(text, head, name, charges)
        if head is not None and not found.kind.startswith("mace"):
            option = f"--head {name}={head}" if name else f"--head={head}"
            raise InputError(
                f"{option}: heads are those of MACE models, and {found.called} is none; give a "
                'factory its head as an argument, module:factory(head="name")'
            )
        if charges == READ and found.kind != "factory":
            option = f"--charges {name}={READ}" if name else f"--charges={READ}"
            raise InputError(
                f"{option} is for factories; which charges {found.called} takes is known without"
            )
        return found

    @classmethod
    def _parse(cls, text: str, *rest: Any) -> CalculatorSource:
        known = {method.lower(): method for method in XTB_METHODS}
        if text.lower() in known:
            return cls(known[text.lower()], "xtb", *rest)
        named = cls(text, "", *rest)
        # os.path, as the call of a factory may be longer than a name can be
        if os.path.isdir(text) and mace_names.canonical(text) is None:
            raise InputError(f"{named.called}: {text} is a folder; give the model's file")
        if not os.path.isfile(text):
            return named._without_file()
        try:
            kind = kind_by_name(text) or kind_by_content(Path(text))
        except ValueError as error:
            raise InputError(f"{named.called}: {text} {error}") from error
        if kind is None:
            raise InputError(named._unknown)
        return dataclasses.replace(named, kind=kind)

    def _without_file(self) -> CalculatorSource:
        """What is named otherwise than by a file."""
        text = self.source
        mace_name = mace_names.canonical(text)
        if mace_name is not None:
            return dataclasses.replace(self, source=mace_name, kind="mace-name")
        try:
            call = FactoryCall.parse(text)
        except InputError as error:
            raise InputError(f"{self.called}: {error}") from error
        if call is not None:
            if "" not in sys.path and os.getcwd() not in sys.path:
                # as `python -m` does: factories lie next to where the command is run
                sys.path.insert(0, os.getcwd())
            return dataclasses.replace(self, kind="factory")
        if kind_by_name(text) is not None:
            raise InputError(f"{self.called}: there is no file {text}")
        raise InputError(self._unknown)

    @property
    def _unknown(self) -> str:
        endings = ", ".join(ending for known in ENDINGS.values() for ending in known)
        held = " or its content" if os.path.isfile(self.source) else ", and there is no such file"
        return (
            f"{self.called}: what {self.source} is cannot be told from its name{held}; "
            f"{' and '.join(XTB_METHODS)} and MACE's names (mace_mp:medium-mpa-0, mace_off:small) "
            f"are known, files end in {endings}, and module:factory names a function or class that "
            "gives an ASE calculator"
        )

    @classmethod
    def parse_named(
        cls, text: str, heads: dict[str, str], charges: dict[str, str] | None = None
    ) -> CalculatorSource:
        """Understand ``NAME=CALCULATOR``; ``heads`` and ``charges`` are by name.

        Raises:
            InputError: as :meth:`parse`, and for another form.
        """
        name, equals, source = text.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name) or not source:
            raise InputError(
                f"--model {text!r}: write NAME=PATH, NAME=module:factory or NAME={XTB_METHODS[0]}, "
                "the name made of letters, digits, '.', '_', '+' and '-'"
            )
        return cls.parse(source, heads.get(name), name, (charges or {}).get(name))

    @property
    def called(self) -> str:
        """How messages speak of it."""
        return f"model '{self.name}'" if self.name else f"--calculator={self.source}"

    @property
    def call(self) -> FactoryCall:
        """Of a factory: what is called, and how."""
        call = FactoryCall.parse(self.source)
        assert call is not None
        return call

    @property
    def digest(self) -> str:
        """Identifies the model: its file; a factory's module, arguments and files that they name;
        xTB's and MACE's names with the version of the program.

        Raises:
            InputError: for a factory's module that cannot be found.
        """
        digest = hashlib.sha256(f"{self.kind} {self.head} ".encode())
        paths = [Path(self.source)]
        if self.kind == "xtb":
            digest.update(f"{self.source} {_tblite_version()} {XTB_ACCURACY:g}".encode())
        elif self.kind == "mace-name":
            digest.update(f"{self.source} {mace_names.version()}".encode())
        elif self.kind == "factory":
            digest.update(self.source.encode())
            try:
                paths = self.call.files
            except InputError as error:
                raise InputError(f"{self.called}: {error}") from error
        for path in paths:
            if os.path.isfile(path):
                digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    @property
    def identity(self) -> str:
        """Name and version or digest, by which finished structures are recognised."""
        if self.kind == "xtb":
            return f"{self.source} (tblite {_tblite_version()}, accuracy {XTB_ACCURACY:g})"
        suffix = "" if self.head is None else f", head {self.head}"
        if self.kind == "mace-name":
            return f"{self.source} (mace-torch {mace_names.version()}{suffix})"
        return f"{self.source} ({self.digest}{suffix})"

    def require_package(self) -> None:
        """Refuse a calculator whose package is not installed.

        Raises:
            InputError: with the remedy.
        """
        package = _PACKAGES.get(self.kind)
        if package is None or importlib.util.find_spec(package) is not None:
            return
        remedy = "pip install tblite"
        if self.kind != "xtb":
            remedy = f'pip install "piwsl-plugins[{package},tools]"'
            other = _OTHER_FRAMEWORK[package]
            beside = importlib.util.find_spec(other) is not None
            if beside or self.name:
                remedy += ", in an environment of its own"
            if beside:
                remedy += f" ({package} and {other} need different versions of e3nn)"
            if self.name:
                remedy += (
                    "; make the report of this model there, and join the two with `piwsl report "
                    "merge`"
                )
        raise InputError(
            f"{self.called}: {self.source} needs {package}, which this environment does not have: "
            + remedy
        )


def _tblite_version() -> str:
    try:
        return importlib.metadata.version("tblite")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
