"""The pool without what is there twice or labelled already."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...frames.identity import StructureIndex
from ...frames.reading import NO_LABELS, Frame, Keys, iterate_frames
from ..units import require_angstrom


@dataclasses.dataclass(frozen=True)
class DistinctStructures:
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


def read_pool(pool: Path, given: Sequence[Path], keys: Keys = NO_LABELS) -> DistinctStructures:
    """Read all structures, and find those that are identical.

    Raises:
        InputError: for files that cannot be read, and positions that are not in Å.
    """
    every = (frame for path in given for frame in iterate_frames(path, keys))
    labelled, known = _each_once(every)
    candidates: dict[int, int] = {}
    frames: list[Frame] = []
    index, size, met = StructureIndex(), 0, set()
    already_given = 0
    for number, frame in enumerate(iterate_frames(pool, keys)):
        size += 1
        same = known.find(frame.structure)
        if same is not None:
            already_given += 1
            met.add(same)
        elif index.find_or_add(frame.structure)[1]:
            candidates[len(frames)] = number
            frames.append(frame)
    for each in (frames, labelled):
        require_angstrom(each)
    # an order as good as random that does not depend on that of the files
    order = sorted(candidates, key=lambda n: frames[n].key)
    both = sorted((labelled[n] for n in met), key=lambda frame: frame.key)
    alone = [frame for n, frame in enumerate(labelled) if n not in met]
    return DistinctStructures(
        [frames[n] for n in order] + both + sorted(alone, key=lambda frame: frame.key),
        [candidates[n] for n in order],
        len(order) + len(both),
        size,
        already_given,
        size - already_given - len(order),
    )


def _each_once(frames: Iterable[Frame]) -> tuple[list[Frame], StructureIndex]:
    """Frames without repetitions, and their index."""
    index = StructureIndex()
    return [frame for frame in frames if index.find_or_add(frame.structure)[1]], index
