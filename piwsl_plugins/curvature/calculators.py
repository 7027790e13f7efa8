"""The calculator whose curvature is measured: xTB, a MACE or NequIP file, or a user's factory."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..report.errors import ReportError
from ..report.loading import load, parse
from ..report.models import ModelSource
from ..report.settings import ReportSettings
from .errors import CurvatureError

if TYPE_CHECKING:
    from ase import Atoms

XTB_METHODS = ("GFN2-xTB", "GFN1-xTB")
#: tblite's "accuracy"; its default of 1 leaves noise of 0.02 eV/Å² in a Hessian of ethanol
XTB_ACCURACY = 0.01
#: the report's loader wants a name for every model
_NAME = "calculator"


@dataclasses.dataclass(frozen=True)
class CalculatorSource:
    """A calculator as named on the command line.

    Attributes:
        text: a method of :data:`XTB_METHODS`, the path of a model, or ``module:factory``.
        model: what the text stands for; None for xTB.
        identity: name, and version or digest, by which finished frames are recognised.
        device: torch device of MACE and NequIP models.
    """

    text: str
    model: ModelSource | None
    identity: str
    device: str = "cpu"

    @classmethod
    def parse(cls, text: str, head: str | None = None, device: str = "cpu") -> CalculatorSource:
        """Understand ``text``, without loading anything yet.

        Args:
            text: see the class.
            head: head of a multihead MACE model.
            device: torch device of MACE and NequIP models.

        Raises:
            CurvatureError: if it is not understood, the file does not exist, or the package that
                it needs is not installed.
        """
        known = {method.lower(): method for method in XTB_METHODS}
        if text.lower() in known:
            _require("tblite", "pip install tblite", text)
            method = known[text.lower()]
            version = importlib.metadata.version("tblite")
            identity = f"{method} (tblite {version}, accuracy {XTB_ACCURACY:g})"
            return cls(method, None, identity, device)
        try:
            model = parse(f"{_NAME}={text}", {} if head is None else {_NAME: head})
            digest = model.digest
        except ReportError as error:
            raise CurvatureError(
                f"--calculator={text}: {_without_name(error)}; "
                f"{' and '.join(XTB_METHODS)} are known by name"
            ) from error
        if model.kind != "factory":
            package = "mace" if model.kind == "mace" else "nequip"
            _require(package, f'pip install "piwsl-plugins[{package}]"', text)
        suffix = "" if head is None else f", head {head}"
        return cls(text, model, f"{text} ({digest}{suffix})", device)


class CalculatorSupply:
    """One calculator per process, reset for every structure.

    So a structure's label depends neither on the structures before it nor on the number of
    processes, but for the last digit with calculators that keep neighbour lists all the same.
    """

    def __init__(self, source: CalculatorSource, elements: Sequence[int]) -> None:
        """Load what is slow to load.

        Args:
            source: what to load.
            elements: atomic numbers of all structures.

        Raises:
            CurvatureError: if it cannot be loaded, or does not know an element.
        """
        self._source = source
        self._loaded: Any = None
        if source.model is not None:
            settings = ReportSettings(device=source.device, dtype="float64")
            try:
                self._loaded = load(source.model, settings, elements).calculator
            except ReportError as error:
                raise CurvatureError(
                    f"--calculator={source.text}: {_without_name(error)}"
                ) from error

    def calculator_for(self, atoms: Atoms) -> Any:
        """The calculator for a structure, reset."""
        if self._source.model is None:
            return _xtb(self._source.text, atoms)
        if hasattr(self._loaded, "reset"):
            self._loaded.reset()
        return self._loaded


def _xtb(method: str, atoms: Atoms) -> Any:
    """A new xTB calculator, which costs little.

    Charge and multiplicity are the structure's ``info["charge"]`` and ``info["spin"]``; without
    them, tblite takes them from the initial charges and magnetic moments.
    """
    from tblite.ase import TBLite

    return TBLite(
        method=method,
        accuracy=XTB_ACCURACY,
        charge=atoms.info.get("charge"),
        multiplicity=atoms.info.get("spin"),
        verbosity=0,
    )


def _require(module: str, remedy: str, text: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise CurvatureError(
            f"--calculator={text} needs {module}, which this environment does not have: {remedy}"
        )


def _without_name(error: ReportError) -> str:
    """The loader's message in the words of this command."""
    message = str(error).removeprefix(f"model '{_NAME}': ").replace(f"--head {_NAME}=", "--head=")
    return message.removeprefix(f"model '{_NAME}' ")
