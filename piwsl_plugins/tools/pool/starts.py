"""The frames that trajectories begin at, and those that a pool must not hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...errors import InputError
from ...frames.identity import StructureIndex
from ...frames.reading import NO_LABELS, Frame, Keys, read_frames
from ...frames.structure import Structure
from ..units import require_angstrom


@dataclasses.dataclass(frozen=True)
class Starts:
    """What was given.

    Attributes:
        frames: those that trajectories begin at, by their number in the file.
        taken: structures that a pool must not hold.
        notes: lines on what was left out.
    """

    frames: dict[int, Frame]
    taken: Sequence[Structure]
    notes: list[str]


def read_starts(
    path: Path, index: str, excluded: Sequence[Path], cells: bool, keys: Keys = NO_LABELS
) -> Starts:
    """Read the files.

    Args:
        path: the frames; single atoms are left out, and repeated frames used once.
        index: ASE's selection of those to begin at.
        excluded: files of validation and test frames: no trajectory begins at one either.
        cells: whether every frame must be periodic in three directions.
        keys: names of charge and spin.

    Raises:
        InputError: for files and frames that cannot be used, and if no frame is left.
    """
    everything = read_frames(path, keys=keys)
    require_angstrom(everything)
    numbers = {frame.where: n for n, frame in enumerate(everything)}
    selected = everything if index == ":" else read_frames(path, index, keys)
    held_out = StructureIndex(
        f.structure for file in excluded for f in read_frames(file, keys=keys)
    )
    frames: dict[int, Frame] = {}
    seen = StructureIndex()
    n_single = n_repeated = n_held_out = 0
    for frame in selected:
        if len(frame.atoms) == 1:
            n_single += 1
        elif held_out.find(frame.structure) is not None:
            n_held_out += 1
        elif seen.find_or_add(frame.structure)[1]:
            frames[numbers[frame.where]] = frame
        else:
            n_repeated += 1
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
    taken = [held_out[number] for number in range(len(held_out))]
    return Starts(frames, [*taken, *(frame.structure for frame in everything)], notes)


def _require_cells(frames: Iterable[Frame]) -> None:
    for frame in frames:
        if not frame.atoms.pbc.all():
            raise InputError(
                f"--pressure: {frame.where} is not periodic in three directions; leave the option "
                "out, or such frames with --index"
            )
