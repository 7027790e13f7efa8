"""Charge and spin of structures, and whether a calculator is told them."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from ..frames.state import CHARGE_KEYS, SPIN_KEYS, State, state_of
from ..options.option import option
from .options import CheckedSettings, add, chosen

if TYPE_CHECKING:
    from ase import Atoms

    from ..frames.reading import Frame, Keys

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


@dataclasses.dataclass(frozen=True)
class StateNames(CheckedSettings):
    """What charge and spin are called in files."""

    charge_key: str | None = option(
        None,
        "total charge (e) in the files of structures",
        derived=" or ".join(CHARGE_KEYS),
        kind=str,
    )
    spin_key: str | None = option(
        None, "spin multiplicity 2S+1, likewise", derived=" or ".join(SPIN_KEYS), kind=str
    )

    def keys(self, labels: Keys | None = None) -> Keys:
        """Names of labels, by default none, with these."""
        from ..frames.reading import NO_LABELS

        labels = NO_LABELS if labels is None else labels
        return dataclasses.replace(labels, charge=self.charge_key or "", spin=self.spin_key or "")


def add_names(parser: argparse.ArgumentParser) -> None:
    """The options of a verb that has no other names of what is in files."""
    group = parser.add_argument_group("names of charge and spin")
    add(group, StateNames, "charge_key", "spin_key")


def named(options: argparse.Namespace) -> Keys:
    """What :func:`add_names` was given, without labels."""
    return StateNames(**chosen(options, StateNames)).keys()


def told(atoms: Atoms, initial: bool = True) -> dict[str, float]:
    """The "charge" (e) and "spin" (multiplicity 2S + 1) that a structure says it has.

    Args:
        atoms: the structure.
        initial: whether the sum of its initial charges is one, where ``info`` has none.
    """
    from ..frames.reading import structure_of

    given = state_of(atoms.info)
    charge = given.charge
    if charge is None and initial and atoms.has("initial_charges"):
        charge = structure_of(atoms).charge
    return State(charge, given.spin).written()


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
    from ..frames.reading import structure_of

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
