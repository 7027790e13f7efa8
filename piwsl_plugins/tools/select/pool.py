"""The pool without what is there twice or labelled already; and the frames that are written."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..storage import written_whole
from ..structures import Frame, iterate_atoms, iterate_frames


@dataclasses.dataclass(frozen=True)
class Pool:
    """Distinct structures: those to choose from, then those given.

    Attributes:
        frames: in the order of their keys, first the candidates, then the given.
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
    """Read all structures; identical are those of equal positions, elements, cell and charge.

    Raises:
        InputError: for files that cannot be read.
    """
    labelled = {frame.key: frame for path in given for frame in iterate_frames(path)}
    candidates: dict[str, tuple[int, Frame]] = {}
    size, already_given, met = 0, 0, set()
    for number, frame in enumerate(iterate_frames(pool)):
        size += 1
        if frame.key in labelled:
            already_given += 1
            met.add(frame.key)
        else:
            candidates.setdefault(frame.key, (number, frame))
    keys = sorted(candidates)
    others = sorted(set(labelled) - met)
    return Pool(
        [candidates[key][1] for key in keys] + [labelled[key] for key in [*sorted(met), *others]],
        [candidates[key][0] for key in keys],
        len(keys) + len(met),
        size,
        already_given,
        size - already_given - len(keys),
    )


def write_frames(
    pool: Path,
    chosen: Mapping[int, Mapping[str, Any]],
    out: Path,
    rest: Path | None,
    remaining: frozenset[int],
) -> None:
    """Write frames of the pool's file with all that they hold.

    Args:
        pool: the file.
        chosen: number in the file of each chosen frame, in the order to write; what to add to its
            ``info``.
        out: for the chosen frames.
        rest: for the remaining ones, if wanted.
        remaining: their numbers.

    Raises:
        InputError: if a frame holds what extended XYZ cannot.
    """
    from ase.io import write

    kept = {}
    with contextlib.ExitStack() as stack:
        file = None
        if rest is not None:
            file = stack.enter_context(open(stack.enter_context(written_whole(rest)), "w"))
        for number, atoms in enumerate(iterate_atoms(pool)):
            if number in chosen:
                kept[number] = atoms
            elif file is not None and number in remaining:
                _write(write, file, [atoms], f"{pool} frame {number}")
        for number, added in chosen.items():
            kept[number].info.update(added)
        with written_whole(out) as partial:
            _write(write, partial, [kept[number] for number in chosen], str(pool))


def _write(write: Any, file: Any, frames: list[Any], where: str) -> None:
    try:
        write(file, frames, format="extxyz")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: cannot be written as extended XYZ ({error})") from error
