"""Loading calculators and models: ASE calculators for structures, and what they answer."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .calculators import XTB_ACCURACY, CalculatorSource
from .errors import InputError, RunError, ToolError, reason_of

if TYPE_CHECKING:
    from ase import Atoms


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A calculator's answer for one structure.

    Attributes:
        energy: in eV.
        forces: ``(n_atoms, 3)`` in eV/Å.
        stress: ``(6,)`` in eV/Å³ in ASE's order and sign; None if it was not asked for, or the
            calculator has none.
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None


class LoadedCalculator:
    """A calculator that is ready to be used; made by :func:`load`."""

    def __init__(self, source: CalculatorSource, calculator: Any) -> None:
        """Args: source: what it is; calculator: ASE's, or None for xTB, made per structure."""
        self.source = source
        self._calculator = calculator

    def calculator_for(self, atoms: Atoms) -> Any:
        """An ASE calculator without memory of the structures before.

        xTB's charge and multiplicity are the structure's ``info["charge"]`` and ``info["spin"]``;
        without them, tblite takes them from the initial charges and magnetic moments.
        """
        if self._calculator is None:
            from tblite.ase import TBLite

            return TBLite(
                method=self.source.source,
                accuracy=XTB_ACCURACY,
                charge=atoms.info.get("charge"),
                multiplicity=atoms.info.get("spin"),
                verbosity=0,
            )
        if hasattr(self._calculator, "reset"):
            self._calculator.reset()
        return self._calculator

    def evaluate(
        self, atoms: Atoms, where: str, finite: bool = True, stress: bool = False
    ) -> Evaluation:
        """The answer for ``atoms``; its own calculator and constraints play no part.

        Args:
            atoms: the structure.
            where: its file and frame, for the error message.
            finite: whether an energy or force that is not finite is an error.
            stress: whether the stress is wanted too.

        Raises:
            RunError: if the calculator cannot evaluate the structure, naming both.
        """
        from ase.calculators.calculator import PropertyNotImplementedError

        attached, stresses = atoms.copy(), None
        attached.calc = self.calculator_for(atoms)
        called = f"{self.source.called} ({self.source.source})"
        try:
            energy = float(attached.get_potential_energy())
            forces = np.array(attached.get_forces(apply_constraint=False), dtype=float)
            if stress:
                with contextlib.suppress(PropertyNotImplementedError):
                    stresses = np.array(attached.get_stress(apply_constraint=False), dtype=float)
        except Exception as error:
            missing = isinstance(error, PropertyNotImplementedError)
            reason = f"it does not give {error}" if missing else reason_of(error)
            raise RunError(
                f"{called} failed on {where} ({atoms.get_chemical_formula()}): {reason}"
            ) from error
        if finite and not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise RunError(f"{called}: energy or forces of {where} are not finite")
        return Evaluation(energy, forces, stresses)


def load(
    source: CalculatorSource, elements: Sequence[int], device: str = "cpu", dtype: str = "float64"
) -> LoadedCalculator:
    """Load a calculator.

    Args:
        source: what to load.
        elements: atomic numbers of the data; each must be known to a MACE model.
        device: torch device of MACE and NequIP models.
        dtype: floating-point type into which MACE models are converted ("model": as stored).

    Raises:
        InputError: if its package is not installed, cannot read the file or does not know an
            element.
    """
    from ase.calculators.calculator import BaseCalculator

    source.require_package()
    if source.kind == "xtb":
        return LoadedCalculator(source, None)
    try:
        with _quiet():
            if source.kind == "mace":
                calculator = _load_mace(source, elements, device, dtype)
            elif source.kind == "factory":
                calculator = _load_factory(source)
            else:
                calculator = _load_nequip(source, device)
    except ToolError:
        raise
    except (Exception, SystemExit) as error:  # a factory's module may be a script that exits
        reason = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"{source.called}: {source.source} cannot be loaded ({type(error).__name__}: {reason})"
        ) from error
    if not isinstance(calculator, BaseCalculator):
        raise InputError(f"{source.called}: {source.source} gave no ASE calculator")
    return LoadedCalculator(source, calculator)


def _load_mace(source: CalculatorSource, elements: Sequence[int], device: str, dtype: str) -> Any:
    import torch
    from ase.data import chemical_symbols
    from mace.calculators import MACECalculator

    # MACE files are whole pickled models
    model = torch.load(source.source, map_location=device, weights_only=False)
    heads = getattr(model, "heads", None) or ["Default"]
    if source.head is not None and source.head not in heads:
        raise InputError(f"{source.called} has no head '{source.head}'; it has {', '.join(heads)}")
    if source.head is None and len(heads) > 1 and "default" not in map(str.lower, heads):
        option = f"--head {source.name}=HEAD" if source.name else "--head=HEAD"
        raise InputError(f"{source.called} has the heads {', '.join(heads)}: choose with {option}")
    unknown = sorted(set(map(int, elements)) - set(map(int, model.atomic_numbers)))
    if unknown:
        raise InputError(
            f"{source.called} ({source.source}) was not trained on the element(s) "
            f"{', '.join(chemical_symbols[z] for z in unknown)}, which the data holds"
        )
    head: dict[str, Any] = {} if source.head is None else {"head": source.head}
    return MACECalculator(
        models=[model], device=device, default_dtype="" if dtype == "model" else dtype, **head
    )


def _load_nequip(source: CalculatorSource, device: str) -> Any:
    from nequip.integrations.ase import NequIPCalculator

    if source.kind == "nequip-compiled":
        return NequIPCalculator.from_compiled_model(source.source, device=device)
    return NequIPCalculator._from_saved_model(source.source, device=device)


def _load_factory(source: CalculatorSource) -> Any:
    module, _, attribute = source.source.partition(":")
    factory: Any = importlib.import_module(module)
    for part in attribute.split("."):
        factory = getattr(factory, part)
    return factory()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the frameworks' notes on standard output, in logs and warnings off the terminal."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
