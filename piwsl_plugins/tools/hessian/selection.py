"""Which frames of a file get a label."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ...errors import InputError
from ...frames.identity import StructureIndex
from ...frames.reading import NO_LABELS, Frame, Keys, read_frames
from ..units import require_angstrom


@dataclasses.dataclass(frozen=True)
class ChosenFrames:
    """What is to be labelled, each structure once, and lines on what was left out."""

    frames: list[Frame]
    notes: list[str]


def select(path: Path, index: str, keys: Keys = NO_LABELS) -> ChosenFrames:
    """The structures of ``path``; single atoms are left out, as their Hessian is zero.

    Args:
        path: any file that ASE reads.
        index: ASE's frame selection.
        keys: names of the labels of the frames.

    Raises:
        InputError: as :func:`piwsl_plugins.frames.reading.read_frames`, for positions that are not
            in Å, and if no frame is left.
    """
    frames: list[Frame] = []
    known = StructureIndex()
    n_single = n_repeated = 0
    selected = read_frames(path, index, keys)
    require_angstrom(selected)
    for frame in selected:
        if len(frame.atoms) == 1:
            n_single += 1
        elif known.find_or_add(frame.structure)[1]:
            frames.append(frame)
        else:
            n_repeated += 1
    if not frames:
        raise InputError(f"{path}: with --index={index} there is no structure of two or more atoms")
    notes = []
    if n_single:
        notes.append(f"{n_single} single atoms left out: their Hessian is zero")
    if n_repeated:
        notes.append(f"{n_repeated} repeated frames labelled once")
    return ChosenFrames(frames, notes)
