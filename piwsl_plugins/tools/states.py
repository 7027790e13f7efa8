"""Charge and spin of structures, and whether a calculator is told them."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from ..frames.reading import structure_of
from ..frames.state import State, state_of

if TYPE_CHECKING:
    from ase import Atoms

    from ..frames.reading import Frame

READ, IGNORED = "read", "ignored"
#: what a user may say of a calculator
CHARGES = (READ, IGNORED)
NAMES = ("charge", "spin")
#: of both, for help texts
HELP = (
    "for structures with a charge, or a spin that is not the lowest, whose calculator is not known "
    "to read them: 'read', it does, from info['charge'] and info['spin'] of the atoms; 'ignored', "
    "it was made for structures of this charge and spin alone (default: they are refused)"
)


def add_option(group: argparse._ActionsContainer) -> None:
    """The option of a verb that takes one calculator."""
    group.add_argument("--charges", choices=CHARGES, help=HELP)


def told(atoms: Atoms, initial: bool = True) -> dict[str, float]:
    """The "charge" (e) and "spin" (multiplicity 2S + 1) that a structure says it has.

    Args:
        atoms: the structure.
        initial: whether the sum of its initial charges is one, where ``info`` has none.
    """
    found = State(*_values(atoms), NAMES).written()
    if initial and "charge" not in found and atoms.has("initial_charges"):
        found |= State(structure_of(atoms).charge, None, ("charge",)).written()
    return found


def say(atoms: Atoms) -> None:
    """Let ``info`` hold what :func:`told` tells, for calculators that look there alone."""
    atoms.info.update(told(atoms))


def not_told(
    atoms: Atoms, reads: Collection[str], fixed: Mapping[str, float] | None = None
) -> dict[str, float]:
    """What a structure says, and its calculator would get wrong.

    Args:
        atoms: the structure.
        reads: which of :data:`NAMES` the calculator is told.
        fixed: what it takes for all structures; without that, it takes them for neutral, with the
            lowest spin.

    Returns:
        a part of :func:`told`.
    """
    state, fixed = told(atoms), fixed or {}
    structure = structure_of(atoms)
    right = {"charge": structure.charge == 0, "spin": structure.unpaired == 0}
    right |= {name: state.get(name, value) == value for name, value in fixed.items()}
    return {n: value for n, value in state.items() if n not in reads and not right[n]}


def distinct(frames: Sequence[Frame]) -> set[tuple[float, float]]:
    """The pairs of charge and spin above the lowest that occur."""
    return {(frame.structure.charge, frame.structure.unpaired) for frame in frames}


def in_words(state: Mapping[str, float]) -> str:
    """Such as "charge=1, spin=2"."""
    return ", ".join(f"{name}={value:g}" for name, value in state.items())


def _values(atoms: Atoms) -> tuple[float | None, float | None]:
    state = state_of(atoms.info)
    return state.charge, state.spin
