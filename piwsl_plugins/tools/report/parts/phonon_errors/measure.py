"""The phonons of a model: forces in the displaced supercells of a crystal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....loaded_calculators import LoadedCalculator
from .reference import Crystal


def spectra(
    model: LoadedCalculator, crystal: Crystal, advance: Callable[[float], None]
) -> dict[str, Any]:
    """Phonons of the reference and of the model, by the same way from the same supercells.

    The geometry is the reference's. What the model's forces are in the supercell without
    displacements, where the reference has none, is taken off.

    Args:
        model: the model.
        crystal: with displaced supercells.
        advance: called after every supercell.

    Returns:
        ``formula``, ``where``, ``path`` and ``regions`` of the crystal, and ``reference`` and
        ``model`` as :meth:`.reference.Crystal.spectrum` gives them.

    Raises:
        RunError: if the model cannot evaluate a supercell, naming both.
    """
    at_rest = model.evaluate(crystal.supercell, f"{crystal.where}, the supercell").forces
    advance(1)
    forces = []
    for number, atoms in enumerate(crystal.displaced):
        where = f"{crystal.where} displacement {number}"
        forces.append(model.evaluate(atoms, where).forces - at_rest)
        advance(1)
    return {
        "formula": crystal.formula,
        "where": crystal.where,
        "path": crystal.path,
        "regions": crystal.regions,
        "reference": crystal.reference,
        "model": crystal.spectrum(forces),
    }
