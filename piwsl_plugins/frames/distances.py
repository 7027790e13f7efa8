"""Distances between atoms."""

from __future__ import annotations

from collections.abc import Iterable

from .structure import Structure


def shortest_distance(structures: Iterable[Structure], below: float) -> float | None:
    """The smallest distance of two atoms, also across faces of the cell, in Å.

    Args:
        structures: all that are looked at.
        below: distances from here on are not looked for, in Å.

    Returns:
        None if all distances are larger.
    """
    from ase.neighborlist import primitive_neighbor_list

    shortest: float | None = None
    for one in structures:
        distances = primitive_neighbor_list("d", one.pbc, one.cell, one.positions, below)
        if len(distances):
            below = shortest = float(distances.min())
    return shortest
