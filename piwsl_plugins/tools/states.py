"""Charge and spin of structures, and whether a calculator is told them."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ase import Atoms

    from .structures import Frame

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


def state_of(atoms: Atoms, initial: bool = True) -> dict[str, float]:
    """The "charge" (e) and "spin" (multiplicity 2S + 1) that a structure says it has.

    They are those of ``info``; without it and with ``initial``, the charge is the sum of the
    initial charges, as ASE's calculators have it. Initial magnetic moments are not counted: they
    are a guess where a calculation begins.
    """
    found = {name: _number(atoms.info[name]) for name in NAMES if atoms.info.get(name) is not None}
    if initial and "charge" not in found and atoms.has("initial_charges"):
        found["charge"] = _number(round(float(atoms.get_initial_charges().sum()), 3))
    return found


def say(atoms: Atoms) -> None:
    """Let ``info`` hold what :func:`state_of` tells, for calculators that look there alone."""
    atoms.info.update(state_of(atoms))


def lowest_spin(atoms: Atoms, charge: float) -> int:
    """The lowest multiplicity 2S + 1 for the number of electrons."""
    return 1 + (int(atoms.numbers.sum()) - round(charge)) % 2


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
        a part of :func:`state_of`.
    """
    state, fixed = state_of(atoms), fixed or {}
    lowest = lowest_spin(atoms, state.get("charge", 0.0))
    wrong = {}
    for name, value in state.items():
        if name in fixed:
            as_assumed = value == fixed[name]
        else:
            as_assumed = value == 0 if name == "charge" else value <= lowest
        if name not in reads and not as_assumed:
            wrong[name] = value
    return wrong


def distinct(frames: Sequence[Frame]) -> set[tuple[float, float]]:
    """The pairs of charge and spin above the lowest that occur; what is not said is 0."""
    found = set()
    for frame in frames:
        state = state_of(frame.atoms)
        charge = state.get("charge", 0)
        above = state.get("spin", 0) - lowest_spin(frame.atoms, charge)
        found.add((charge, max(0, above)))
    return found


def in_words(state: Mapping[str, float]) -> str:
    """Such as "charge=1, spin=2"."""
    return ", ".join(f"{name}={value:g}" for name, value in state.items())


def _number(value: Any) -> float:
    number = float(value)
    return int(number) if number == int(number) else number
