"""How pairs of elements are called."""

from __future__ import annotations

from ase.data import chemical_symbols


def pair_name(first: int, second: int) -> str:
    """Two atomic numbers as "C–O" or, hydrogen last, "C–H"."""
    ordered = sorted((int(first), int(second)), key=lambda number: (number == 1, number))
    return "–".join(chemical_symbols[number] for number in ordered)
