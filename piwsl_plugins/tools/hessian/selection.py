"""Which frames of a file get a label."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ..errors import InputError
from ..structures import Frame, LabelKeys, read_frames


@dataclasses.dataclass(frozen=True)
class Selection:
    """What is to be labelled, each geometry once, and lines on what was left out."""

    frames: list[Frame]
    notes: list[str]


def select(path: Path, index: str, keys: LabelKeys | None = None) -> Selection:
    """The structures of ``path``; single atoms are left out, as their Hessian is zero.

    Args:
        path: any file that ASE reads.
        index: ASE's frame selection.
        keys: names of the labels of the frames.

    Raises:
        InputError: as :func:`piwsl_plugins.tools.structures.read_frames`, and for two frames with
            the same positions in different cells, which labels cannot tell apart.
    """
    frames: dict[str, Frame] = {}
    by_positions: dict[bytes, Frame] = {}
    n_single = n_repeated = 0
    for frame in read_frames(path, index, keys):
        atoms = frame.atoms
        if len(atoms) == 1:
            n_single += 1
            continue
        twin = by_positions.setdefault(atoms.numbers.tobytes() + atoms.positions.tobytes(), frame)
        if twin.key != frame.key:
            raise InputError(
                f"{frame.where}: same atoms and positions as {twin.where}, but another cell or "
                "charge; labels are found by positions and cannot tell the two apart: leave one out"
            )
        n_repeated += frame.key in frames
        frames.setdefault(frame.key, frame)
    if not frames:
        raise InputError(f"{path}: with --index={index} there is no structure of two or more atoms")
    notes = []
    if n_single:
        notes.append(f"{n_single} single atoms left out: their Hessian is zero")
    if n_repeated:
        notes.append(f"{n_repeated} repeated frames labelled once")
    return Selection(list(frames.values()), notes)
