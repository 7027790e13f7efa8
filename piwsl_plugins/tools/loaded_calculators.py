"""Loading calculators and models: ASE calculators for structures, and what they answer."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, PIWSLError, RunError, reason_of
from ..frames.reading import Frame, elements_of
from . import loaders, mace_names
from .calculators import CalculatorSource
from .states import IGNORED, NAMES, READ, in_words, not_told, say, told

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
        dipole: ``(3,)`` in e·Å; None likewise.
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None
    dipole: np.ndarray | None = None


class LoadedCalculator:
    """A calculator that is ready to be used; made by :func:`load`.

    Attributes:
        source: what it is.
        reads: what it is told of a structure, of :data:`..states.NAMES`.
    """

    def __init__(self, source: CalculatorSource, loaded: loaders.Loaded) -> None:
        """Args: source: what it is; loaded: ASE's calculator."""
        self.source = source
        self._loaded = loaded
        assumed = NAMES if source.charges == READ else ()
        self.reads = frozenset(assumed if loaded.reads is None else loaded.reads)

    def require_told(self, atoms: Atoms, where: str) -> None:
        """Refuse a structure whose charge or spin the calculator does not take.

        Args:
            atoms: the structure.
            where: its file and frame, for the error message.

        Raises:
            InputError: naming it, with the remedies.
        """
        if self.source.charges == IGNORED:
            return
        fixed = self.source.call.fixed_state if self.source.kind == "factory" else {}
        wrong = not_told(atoms, self.reads, fixed)
        if not wrong:
            return
        assumed = "neutral and of the lowest spin"
        if fixed:
            assumed = f"{in_words(fixed)}, as its arguments say"
        option = f"--charges {self.source.name}=" if self.source.name else "--charges "
        remedy = _REMEDIES[self.source.kind]
        if self._loaded.reads is None:
            remedy += f", or, if it reads info['charge'] and info['spin'], say {option}{READ}"
        raise InputError(
            f"{where}: {in_words(wrong)}, of which {self.source.called} is not told, so that it "
            f"would take the structure for {assumed}; {remedy}; if it was made for structures of "
            f"this charge and spin alone, say {option}{IGNORED}"
        )

    def calculator_for(self, atoms: Atoms, where: str = "a structure") -> Any:
        """An ASE calculator without memory of the structures before.

        It is told the structure's charge and spin (:func:`..states.told`), as far as it reads
        them. xTB takes what ``info`` does not hold from initial charges and magnetic moments.

        Args:
            atoms: the structure that it will be attached to; ``info`` is made to hold the charge.
            where: its file and frame, for the error message.

        Raises:
            InputError: for a charge or spin that the calculator would get wrong.
        """
        self.require_told(atoms, where)
        calculator, make = self._loaded.calculator, self._loaded.make
        if make is not None:
            state = told(atoms, initial=self.source.kind != "xtb")
            calculator = make(**{name: v for name, v in state.items() if name in self.reads})
        else:
            say(atoms)
        if hasattr(calculator, "reset"):
            calculator.reset()
        return calculator

    def evaluate(
        self,
        atoms: Atoms,
        where: str,
        finite: bool = True,
        stress: bool = False,
        dipole: bool = False,
    ) -> Evaluation:
        """The answer for ``atoms``; its own calculator and constraints play no part.

        Args:
            atoms: the structure.
            where: its file and frame, for the error message.
            finite: whether an energy or force that is not finite is an error.
            stress: whether the stress is wanted too.
            dipole: whether the dipole is wanted too.

        Raises:
            RunError: if the calculator cannot evaluate the structure, naming both.
        """
        from ase.calculators.calculator import PropertyNotImplementedError

        attached, stresses, moment = atoms.copy(), None, None
        attached.calc = self.calculator_for(attached, where)
        called = f"{self.source.called} ({self.source.source})"
        try:
            energy = float(attached.get_potential_energy())
            forces = np.array(attached.get_forces(apply_constraint=False), dtype=float)
            if stress:
                with contextlib.suppress(PropertyNotImplementedError):
                    stresses = np.array(attached.get_stress(apply_constraint=False), dtype=float)
            if dipole:
                with contextlib.suppress(PropertyNotImplementedError):
                    moment = np.array(attached.get_dipole_moment(), dtype=float)
        except Exception as error:
            missing = isinstance(error, PropertyNotImplementedError)
            reason = f"it does not give {error}" if missing else reason_of(error)
            raise RunError(
                f"{called} failed on {where} ({atoms.get_chemical_formula()}): {reason}"
            ) from error
        if finite and not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise RunError(f"{called}: energy or forces of {where} are not finite")
        return Evaluation(energy, forces, stresses, moment)


class LazyCalculator:
    """A calculator that is loaded when first needed, in each process that works on frames."""

    def __init__(self, source: CalculatorSource, elements: Sequence[int], device: str) -> None:
        """
        Args:
            source: what to load.
            elements: atomic numbers of all structures.
            device: torch device of MACE and NequIP models.
        """
        self.source = source
        self._arguments = source, elements, device

    @functools.cached_property
    def _loaded(self) -> LoadedCalculator:
        return load(*self._arguments)

    def attached(self, frame: Frame) -> Any:
        """``ase.Atoms``, a copy of a frame's, with the calculator, without memory of those before.

        Raises:
            InputError: if the calculator cannot be loaded, or would get charge or spin wrong.
        """
        atoms = frame.atoms.copy()
        atoms.calc = self._loaded.calculator_for(atoms, frame.where)
        return atoms


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
    source.require_package()
    try:
        with _quiet():
            if source.kind == "xtb":
                loaded = loaders.xtb(source)
            elif source.kind in ("mace", "mace-name"):
                loaded = loaders.mace(source, elements, device, dtype)
            elif source.kind == "factory":
                loaded = loaders.factory(source)
            else:
                loaded = loaders.nequip(source, device)
    except PIWSLError:
        raise
    except (Exception, SystemExit) as error:  # a factory's module may be a script that exits
        raise _cannot(source, error) from error
    return LoadedCalculator(source, loaded)


def prepare(source: CalculatorSource, frames: Sequence[Frame], device: str = "cpu") -> None:
    """What is better done once, before anything is computed or written.

    A model that is named by MACE's name is downloaded, unless MACE's cache holds it, and what MACE
    says of it, its licence for one, goes to standard error. Structures whose charge or spin the
    calculator is not told are refused; where there are none, nothing is loaded.

    Raises:
        InputError: naming the structure, or for a calculator that cannot be loaded.
    """
    source.require_package()
    if source.kind == "mace-name":
        try:
            with contextlib.redirect_stdout(sys.stderr), _quiet(output=True):
                mace_names.raw_model(source.source, device)
        except PIWSLError:
            raise
        except Exception as error:
            raise _cannot(source, error) from error
    said = [frame for frame in frames if not_told(frame.atoms, ())]
    if source.charges is None and said:
        calculator = load(source, elements_of(frames), device)
        for frame in said:
            calculator.require_told(frame.atoms, frame.where)


def _cannot(source: CalculatorSource, error: BaseException) -> InputError:
    # of a download that fails, MACE gives the reason as the cause
    causes = [str(e).strip().splitlines() for e in (error, error.__cause__) if e is not None]
    reason = ": ".join(lines[0] for lines in causes if lines)
    return InputError(
        f"{source.called}: {source.source} cannot be loaded ({type(error).__name__}: {reason})"
    )


_TELL = (
    "an embedding of total_charge and total_spin (mace_run_train --embedding_specs), or leave "
    "these structures out"
)
_REMEDIES = {
    "mace": f"take a MACE model with {_TELL}",
    "mace-name": f"take a MACE model with {_TELL}",
    "nequip-saved": "take a NequIP model with charge and spin among its model_input_fields, or "
    "leave these structures out",
    "nequip-compiled": "compiled NequIP models take none; leave these structures out",
    "factory": "give the factory parameters charge and multiplicity, with which it is then called",
}


@contextlib.contextmanager
def _quiet(output: bool = False) -> Iterator[None]:
    """Keep the frameworks' logs and warnings off the terminal, and unless ``output``, what they
    print."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        printed = contextlib.nullcontext() if output else contextlib.redirect_stdout(io.StringIO())
        with warnings.catch_warnings(), printed:
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
