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

from .errors import InputError, reason_of

XTB_METHODS = ("GFN2-xTB", "GFN1-xTB")
#: tblite's "accuracy"; its default of 1 leaves noise of 0.02 eV/Å² in a Hessian of ethanol
XTB_ACCURACY = 0.01
#: file name endings by kind; NequIP's are compiled, or loaded eagerly
ENDINGS = {
    "mace": (".model",),
    "nequip-compiled": (".nequip.pt2", ".nequip.pth"),
    "nequip-saved": (".nequip.zip", ".ckpt"),
}
#: for help texts
FORMS = (
    f"{', '.join(XTB_METHODS)} (pip install tblite); a MACE .model; a NequIP .nequip.zip, .ckpt, "
    ".nequip.pt2 or .nequip.pth; or module:factory, a function without arguments that returns an "
    "ASE calculator"
)
_PACKAGES = {"mace": "mace", "nequip-compiled": "nequip", "nequip-saved": "nequip", "xtb": "tblite"}
#: what an environment cannot hold beside each
_OTHER_FRAMEWORK = {"mace": "nequip", "nequip": "mace"}


@dataclasses.dataclass(frozen=True)
class CalculatorSource:
    """A calculator as named on the command line.

    Attributes:
        source: path of a file, ``module:factory``, or a method of :data:`XTB_METHODS`.
        kind: "mace", "nequip-compiled", "nequip-saved", "factory" or "xtb".
        head: head of a multihead MACE model, or None.
        name: what a report calls it; empty for the one calculator of other verbs.
    """

    source: str
    kind: str
    head: str | None = None
    name: str = ""

    @classmethod
    def parse(cls, text: str, head: str | None = None, name: str = "") -> CalculatorSource:
        """Understand ``text``.

        Raises:
            InputError: if it is not understood, or the file does not exist.
        """
        known = {method.lower(): method for method in XTB_METHODS}
        if text.lower() in known:
            return cls(known[text.lower()], "xtb", head, name)
        if not Path(text).exists() and re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", text):
            if "" not in sys.path and os.getcwd() not in sys.path:
                # as `python -m` does: factories lie next to where the command is run
                sys.path.insert(0, os.getcwd())
            return cls(text, "factory", head, name)
        for kind, endings in ENDINGS.items():
            if text.endswith(endings):
                found = cls(text, kind, head, name)
                if Path(text).is_dir():
                    raise InputError(f"{found.called}: {text} is a folder; give the model's file")
                if not Path(text).is_file():
                    raise InputError(f"{found.called}: there is no file {text}")
                return found
        endings = ", ".join(ending for known in ENDINGS.values() for ending in known)
        raise InputError(
            f"{cls(text, '', head, name).called}: what {text} is cannot be told from its name; "
            f"{' and '.join(XTB_METHODS)} are known, files end in {endings}, and module:factory "
            "names a function without arguments that returns an ASE calculator"
        )

    @classmethod
    def parse_named(cls, text: str, heads: dict[str, str]) -> CalculatorSource:
        """Understand ``NAME=CALCULATOR``; ``heads`` are by name.

        Raises:
            InputError: as :meth:`parse`, and for another form.
        """
        name, equals, source = text.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name) or not source:
            raise InputError(
                f"--model {text!r}: write NAME=PATH, NAME=module:factory or NAME={XTB_METHODS[0]}, "
                "the name made of letters, digits, '.', '_', '+' and '-'"
            )
        return cls.parse(source, heads.get(name), name)

    @property
    def called(self) -> str:
        """How messages speak of it."""
        return f"model '{self.name}'" if self.name else f"--calculator={self.source}"

    @property
    def digest(self) -> str:
        """Identifies the model's file (of a factory: its module's; of xTB: tblite's version).

        Raises:
            InputError: for a factory's module that cannot be found.
        """
        digest = hashlib.sha256(f"{self.kind} {self.head} ".encode())
        if self.kind == "xtb":
            digest.update(f"{self.source} {_tblite_version()} {XTB_ACCURACY:g}".encode())
        path = Path(self.source)
        if self.kind == "factory":
            try:
                spec = importlib.util.find_spec(self.source.partition(":")[0])
            except Exception as error:  # importing what the module is part of may lead to any
                raise InputError(f"{self.called}: {self.source}: {reason_of(error)}") from error
            path = Path((spec and spec.origin) or os.devnull)
        if path.is_file():
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    @property
    def identity(self) -> str:
        """Name and version or digest, by which finished structures are recognised."""
        if self.kind == "xtb":
            return f"{self.source} (tblite {_tblite_version()}, accuracy {XTB_ACCURACY:g})"
        suffix = "" if self.head is None else f", head {self.head}"
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
