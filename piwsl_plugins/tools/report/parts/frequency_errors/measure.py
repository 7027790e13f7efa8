"""The Hessian of a model on a Hessian-labelled structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .....errors import RunError, reason_of
from ....hessian.differences import hessian
from ....loaded_calculators import LoadedCalculator
from .reference import LabelledHessian

#: displacement of a component in the central differences of the forces (Å)
STEP = 0.005


def second_derivatives(
    model: LoadedCalculator, labelled: LabelledHessian, advance: Callable[[float], None]
) -> dict[str, Any]:
    """Label and model's Hessian of one structure.

    Args:
        model: the model.
        labelled: the structure.
        advance: called at the end with the number of components displaced.

    Returns:
        ``reference`` and ``model`` (``(3 n_atoms, 3 n_atoms)`` in eV/Å²), ``numbers``,
        ``positions`` (Å), ``pbc``, ``formula`` and ``label``, the label's number.

    Raises:
        RunError: if the model cannot evaluate the structure, naming both.
    """
    atoms = labelled.atoms.copy()
    atoms.calc = model.calculator_for(atoms, labelled.where)
    try:
        found, _ = hessian(atoms, STEP)
    except Exception as error:
        raise RunError(
            f"{model.source.called} ({model.source.source}) failed on {labelled.where} "
            f"({atoms.get_chemical_formula()}): {reason_of(error)}"
        ) from error
    advance(3 * len(atoms))
    return {
        "label": labelled.number,
        "formula": atoms.get_chemical_formula(),
        "numbers": atoms.numbers,
        "positions": atoms.positions,
        "pbc": atoms.pbc,
        "reference": labelled.hessian,
        "model": found,
    }
