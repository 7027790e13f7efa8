"""A model of the report: where it comes from, and an ASE calculator that evaluates it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import ReportError

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import BaseCalculator


@dataclasses.dataclass(frozen=True)
class ModelSource:
    """A model as named on the command line.

    Attributes:
        name: how the report calls it.
        source: path of a file, or ``module:factory``.
        kind: "mace", "nequip-compiled", "nequip-saved" or "factory".
        head: head of a multihead MACE model, or None.
    """

    name: str
    source: str
    kind: str
    head: str | None = None

    @property
    def digest(self) -> str:
        """Identifies the model's file (of a factory: the file of its module)."""
        path = Path(self.source)
        if self.kind == "factory":
            module = self.source.partition(":")[0]
            try:
                spec = importlib.util.find_spec(module)
            except ModuleNotFoundError as error:
                raise ReportError(f"model '{self.name}': {self.source}: {error}") from error
            path = Path((spec and spec.origin) or os.devnull)
        digest = hashlib.sha256(f"{self.kind} {self.head} ".encode())
        if path.is_file():
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A model's answer for one structure: energy (eV), forces ``(n_atoms, 3)`` (eV/Å)."""

    energy: float
    forces: np.ndarray


class Model:
    """A loaded model; see :func:`piwsl_plugins.report.loading.load`."""

    def __init__(self, source: ModelSource, calculator: BaseCalculator) -> None:
        self.source = source
        self.calculator = calculator

    @property
    def name(self) -> str:
        """The model's name in the report."""
        return self.source.name

    def evaluate(self, atoms: Atoms, where: str, finite: bool = True) -> Evaluation:
        """Energy and forces of ``atoms``; its own calculator and constraints play no part.

        Args:
            atoms: the structure.
            where: its file and frame, for the error message.
            finite: whether an energy or force that is not finite is an error.

        Raises:
            ReportError: if the model cannot evaluate the structure, naming both.
        """
        attached = atoms.copy()
        attached.calc = self.calculator
        with self._explained(atoms, where):
            energy = float(attached.get_potential_energy())
            forces = np.array(attached.get_forces(apply_constraint=False), dtype=float)
        if finite and not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise ReportError(
                f"model '{self.name}' ({self.source.source}): energy or forces of {where} "
                "are not finite"
            )
        return Evaluation(energy, forces)

    def stress(self, atoms: Atoms, where: str) -> np.ndarray | None:
        """Stress ``(6,)`` in eV/Å³ in ASE's order and sign; None if the model has none."""
        from ase.calculators.calculator import PropertyNotImplementedError

        attached = atoms.copy()
        attached.calc = self.calculator
        with self._explained(atoms, where):
            try:
                return np.array(attached.get_stress(apply_constraint=False), dtype=float)
            except PropertyNotImplementedError:
                return None

    @contextlib.contextmanager
    def _explained(self, atoms: Atoms, where: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            from ase.calculators.calculator import PropertyNotImplementedError

            if isinstance(error, PropertyNotImplementedError):
                reason = f"it does not give {error}"
            else:
                reason = f"{type(error).__name__}: {error}" if str(error) else repr(error)
            raise ReportError(
                f"model '{self.name}' ({self.source.source}) failed on {where} "
                f"({atoms.get_chemical_formula()}): {reason}"
            ) from error
