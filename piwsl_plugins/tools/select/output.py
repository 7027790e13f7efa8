"""The chosen frames, and those that remain, with all that the pool's file says of them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...frames.reading import iterate_atoms
from ..storage import written_whole


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
            partial = stack.enter_context(written_whole(rest))
            file = stack.enter_context(open(partial, "w", encoding="utf-8"))
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
