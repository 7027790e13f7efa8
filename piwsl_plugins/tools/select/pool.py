"""The pool without what is there twice or labelled already."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ..structures import Frame, iterate_frames, place
from ..units import require_angstrom


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
        InputError: for files that cannot be read, and positions that are not in Å.
    """
    labelled = {place(frame): frame for path in given for frame in iterate_frames(path)}
    candidates: dict[bytes, tuple[int, Frame]] = {}
    size, already_given, met = 0, 0, set()
    for number, frame in enumerate(iterate_frames(pool)):
        size += 1
        here = place(frame)
        if here in labelled:
            already_given += 1
            met.add(here)
        else:
            candidates.setdefault(here, (number, frame))
    for frames in ([frame for _, frame in candidates.values()], list(labelled.values())):
        require_angstrom(frames)
    places = sorted(candidates)
    both, given_alone = sorted(met), sorted(set(labelled) - met)
    return Pool(
        [candidates[here][1] for here in places] + [labelled[p] for p in [*both, *given_alone]],
        [candidates[here][0] for here in places],
        len(places) + len(both),
        size,
        already_given,
        size - already_given - len(places),
    )
