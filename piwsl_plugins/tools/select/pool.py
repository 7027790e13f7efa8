"""The pool without what is there twice or labelled already."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...core.frame_checks import geometry_key
from ..structures import Frame, iterate_frames


@dataclasses.dataclass(frozen=True)
class Pool:
    """Distinct structures: those to choose from, then those given.

    Attributes:
        frames: first the candidates, then the given, both in an order as good as random that does
            not depend on that of the files.
        indices: number in the pool's file of each candidate.
        pooled: how many of ``frames`` are in the pool: candidates and the given ones among them.
        size: structures in the pool's file.
        already_given: of these, how many are identical to a given one.
        repeated: of the others, how many are identical to one before.
    """

    frames: Sequence[Frame]
    indices: Sequence[int]
    pooled: int
    size: int
    already_given: int
    repeated: int

    @property
    def candidates(self) -> int:
        """How many structures there are to choose from."""
        return len(self.indices)


def read_pool(pool: Path, given: Sequence[Path]) -> Pool:
    """Read all structures, and find those that are identical.

    Raises:
        InputError: for files that cannot be read.
    """
    labelled = {_place(frame): frame for path in given for frame in iterate_frames(path)}
    candidates: dict[bytes, tuple[int, Frame]] = {}
    size, already_given, met = 0, 0, set()
    for number, frame in enumerate(iterate_frames(pool)):
        size += 1
        place = _place(frame)
        if place in labelled:
            already_given += 1
            met.add(place)
        else:
            candidates.setdefault(place, (number, frame))
    places = sorted(candidates)
    both, given_alone = sorted(met), sorted(set(labelled) - met)
    return Pool(
        [candidates[place][1] for place in places] + [labelled[p] for p in [*both, *given_alone]],
        [candidates[place][0] for place in places],
        len(places) + len(both),
        size,
        already_given,
        size - already_given - len(places),
    )


def _place(frame: Frame) -> bytes:
    """Identifies a structure, also where files keep other digits.

    Identical are elements, positions rounded to 0.001 Å, the cell where it is periodic, and total
    charge and spin, of which none are 0 and 1.
    """
    atoms = frame.atoms
    rows = np.concatenate([atoms.positions, atoms.cell.array[atoms.pbc]])
    state = atoms.pbc.tobytes()
    for name, default in (("charge", 0), ("spin", 1)):
        value = atoms.info.get(name, default)
        value = float(value) if isinstance(value, int | float | np.number) else value
        state += f" {name} {value}".encode()
    return hashlib.sha256(geometry_key(atoms.numbers, rows) + state).digest()
