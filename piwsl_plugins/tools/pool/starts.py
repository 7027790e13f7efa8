"""The frames that trajectories begin at, and those that a pool must not hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import InputError
from ..structures import Frame, place, read_frames
from ..units import require_angstrom


@dataclasses.dataclass(frozen=True)
class Starts:
    """What was given.

    Attributes:
        frames: those that trajectories begin at, by their number in the file.
        taken: keys (:func:`..structures.place`) of structures that a pool must not hold.
        notes: lines on what was left out.
    """

    frames: dict[int, Frame]
    taken: frozenset[bytes]
    notes: list[str]


def read_starts(path: Path, index: str, excluded: Sequence[Path], cells: bool) -> Starts:
    """Read the files.

    Args:
        path: the frames; single atoms are left out, and repeated frames used once.
        index: ASE's selection of those to begin at.
        excluded: files of validation and test frames: no trajectory begins at one either.
        cells: whether every frame must be periodic in three directions.

    Raises:
        InputError: for files and frames that cannot be used, and if no frame is left.
    """
    everything = read_frames(path)
    require_angstrom(everything)
    numbers = {frame.where: n for n, frame in enumerate(everything)}
    selected = everything if index == ":" else read_frames(path, index)
    held_out = {place(frame) for file in excluded for frame in read_frames(file)}
    frames: dict[int, Frame] = {}
    seen: set[bytes] = set()
    n_single = n_repeated = n_held_out = 0
    for frame in selected:
        here = place(frame)
        if len(frame.atoms) == 1:
            n_single += 1
        elif here in held_out:
            n_held_out += 1
        elif here in seen:
            n_repeated += 1
        else:
            seen.add(here)
            frames[numbers[frame.where]] = frame
    if not frames:
        raise InputError(
            f"{path}: no frame to begin at ({n_single} single atoms, {n_held_out} frames of the "
            "files of --exclude)"
        )
    n_constrained = sum(frame.constrained for frame in frames.values())
    if cells:
        _require_cells(frames.values())
    notes = [
        f"{number} {words}"
        for number, words in (
            (n_single, "single atoms left out"),
            (n_repeated, "repeated frames used once"),
            (n_held_out, "frames not begun at: they are in the files of --exclude too"),
            (n_constrained, "frames with constraints, which the dynamics do not keep"),
        )
        if number
    ]
    taken = held_out | {place(frame) for frame in everything}
    return Starts(frames, frozenset(taken), notes)


def _require_cells(frames: Iterable[Frame]) -> None:
    for frame in frames:
        if not frame.atoms.pbc.all():
            raise InputError(
                f"--pressure: {frame.where} is not periodic in three directions; leave the option "
                "out, or such frames with --index"
            )
