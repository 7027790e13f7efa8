"""The ASE calculator of each kind that a user may name, and what it is told of a structure."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from . import mace_names
from .calculators import XTB_ACCURACY, CalculatorSource
from .nequip_types import types_of_elements
from .states import NAMES

if TYPE_CHECKING:
    from ase import Atoms


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A calculator of ASE's.

    Attributes:
        calculator: for all structures, or None.
        reads: what it is told of a structure, of :data:`..states.NAMES`; None if that is not known.
        make: makes one for a structure's "charge" and "spin", those that it ``reads``.
    """

    calculator: Any
    reads: Collection[str] | None = None
    make: Callable[..., Any] | None = None


def xtb(source: CalculatorSource) -> Loaded:
    """tblite's calculator, made anew for each structure, so that none depends on those before."""
    return Loaded(None, NAMES, functools.partial(_xtb, source.source))


def _xtb(method: str, charge: float | None = None, spin: float | None = None) -> Any:
    from tblite.ase import TBLite

    return TBLite(
        method=method, accuracy=XTB_ACCURACY, charge=charge, multiplicity=spin, verbosity=0
    )


#: type of MACE's calculator by class of the model
_MACE_TYPES = {"EnergyDipolesMACE": "EnergyDipoleMACE", "PolarMACE": "PolarMACE"}
_DIPOLES_ALONE = ("AtomicDipolesMACE", "AtomicDielectricMACE")


def mace(source: CalculatorSource, elements: Sequence[int], device: str, dtype: str) -> Loaded:
    """MACE's calculator, told charge and spin if the model embeds them.

    Raises:
        InputError: for a head or element that the model does not have, and a model without
            energies.
        Exception: for what is no model.
    """
    import torch
    from ase.data import chemical_symbols
    from mace.calculators import MACECalculator

    if source.kind == "mace-name":
        model = mace_names.raw_model(source.source, device)
    else:
        # MACE files are whole pickled models, or compiled by torch
        model = torch.load(source.source, map_location=device, weights_only=False)
    kind = mace_class(model)
    if kind.startswith("LAMMPS_"):
        raise InputError(
            f"{source.called}: {source.source} is made for LAMMPS; give the .model that it was "
            "made from"
        )
    if kind in _DIPOLES_ALONE:
        raise InputError(f"{source.called}: {source.source} gives dipoles and no energies ({kind})")
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
    calculator = MACECalculator(
        models=[model],
        device=device,
        default_dtype="" if dtype == "model" else dtype,
        model_type=_MACE_TYPES.get(kind, "MACE"),
        **head,
    )
    return Loaded(calculator, _read_by_mace(calculator))


def mace_class(model: Any) -> str:
    """Class of a MACE model, also of one that torch has compiled."""
    return str(getattr(model, "original_name", type(model).__name__))


def _read_by_mace(calculator: Any) -> set[str]:
    """Of charge and spin, what a MACECalculator takes from ``info``, and its models embed."""
    fields = {name: f"total_{name}" for name in NAMES}
    embedded = [getattr(model, "embedding_specs", None) or {} for model in calculator.models]
    polar = all(mace_class(model) == "PolarMACE" for model in calculator.models)
    return {
        name
        for name, field in fields.items()
        if calculator.info_keys.get(field) == name
        and (polar or all(field in specs for specs in embedded))
    }


def nequip(source: CalculatorSource, device: str) -> Loaded:
    """NequIP's calculator, told charge and spin if they are among the model's inputs.

    Elements have the types that they had in training.

    Raises:
        InputError: if the types are no elements, and which they are of is not known.
        Exception: for what is no model.
    """
    try:
        return _nequip(source, device)
    except ValueError as error:
        # of NequIP 0.19's ChemicalSpeciesToAtomTypeMapper (nequip/data/transforms/type_mapper.py)
        if not str(error).startswith("Invalid chemical symbol"):
            raise
        raise InputError(
            f"{source.called}: not all type names of {source.source} are symbols of elements "
            f"({error}), and it does not say, or not in one way, which elements they are of; name "
            "a factory that gives NequIP's calculator with chemical_species_to_atom_type_map "
            "('module:factory', see docs/calculators.md)"
        ) from error


def _nequip(source: CalculatorSource, device: str) -> Loaded:
    from nequip.data import from_ase
    from nequip.integrations.ase import NequIPCalculator

    if source.kind == "nequip-compiled":
        compiled = NequIPCalculator.from_compiled_model(source.source, device=device)
        return Loaded(compiled, ())

    class Told(NequIPCalculator):  # type: ignore[misc]
        """NequIP's leaves out charge and spin (nequip 0.19.1, integrations/ase.py)."""

        def atoms_to_data(self, atoms: Atoms) -> Any:
            data = super().atoms_to_data(atoms)
            with_state = from_ase(atoms, include_keys=list(reads))
            data.update({name: with_state[name].to(self.device) for name in reads})
            return data

    calculator = Told._from_saved_model(
        source.source,
        device=device,
        chemical_species_to_atom_type_map=types_of_elements(source.source),
    )
    reads = {name for name in NAMES if name in calculator.model.model_input_fields}
    return Loaded(calculator, reads)


def factory(source: CalculatorSource) -> Loaded:
    """What a function of the user's makes, told charge and spin if it has parameters for them.

    Raises:
        InputError: for something else than an ASE calculator.
        Exception: of the user's code.
    """
    from ase.calculators.calculator import BaseCalculator

    call = source.call
    function = call.import_it()
    parameters = call.state_parameters(function)

    @functools.lru_cache(maxsize=8)
    def make(**state: float) -> Any:
        told = {parameters[name]: value for name, value in state.items() if name in parameters}
        return function(*call.arguments, **{**call.keywords, **told})

    calculator = make()
    if not isinstance(calculator, BaseCalculator):
        raise InputError(f"{source.called}: {source.source} gave no ASE calculator")
    if parameters:
        return Loaded(None, parameters, make)
    mace_own = type(calculator).__name__ == "MACECalculator"
    return Loaded(calculator, _read_by_mace(calculator) if mace_own else None)
