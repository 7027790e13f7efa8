"""Labelled frames of a report, and paths of frames."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...frames.reading import Frame, Keys, read_frames
from ..label_names import say_candidates, unread_charges, unread_dipole, unread_stress
from ..units import require_angstrom
from .settings import ReportSettings


@dataclasses.dataclass(frozen=True)
class FrameSet:
    """The frames of one or several files, their digest, and lines on what was not read."""

    frames: tuple[Frame, ...]
    files: tuple[str, ...]
    digest: str
    n_isolated_atoms: int
    notes: tuple[str, ...] = ()


def read_labelled(paths: Sequence[Path], settings: ReportSettings) -> FrameSet:
    """The labelled frames of ``paths``; frames with ``config_type=IsolatedAtom`` are left out.

    Raises:
        InputError: for a file that cannot be read or used
            (:func:`piwsl_plugins.frames.reading.read_frames`), positions that are not in Å, a
            frame without energy, or without forces although ``forces_key`` is not "none".
    """
    found: list[Frame] = []
    notes: list[str] = []
    keys = _keys(settings)
    if "labels" in settings.parts:
        keys = dataclasses.replace(keys, dipole=settings.dipole_key)
    for path in paths:
        frames = read_frames(path, keys=keys)
        require_angstrom(frames)
        _require_labels(path, frames, settings)
        notes += _notes(path, frames, settings)
        found += frames
    kept = [frame for frame in found if not _is_isolated(frame)]
    if not kept:
        names = ", ".join(str(path) for path in paths)
        raise InputError(f"{names}: no frames are left without the isolated atoms")
    n_isolated = len(found) - len(kept)
    if 0 < settings.max_frames < len(kept):
        chosen = np.linspace(0, len(kept) - 1, settings.max_frames).round().astype(int)
        kept = [kept[index] for index in chosen]
    return FrameSet(tuple(kept), _names(paths), _digest(kept), n_isolated, tuple(notes))


def read_path(path: Path, settings: ReportSettings) -> FrameSet:
    """The frames of a scan, in order; labels are optional.

    Raises:
        InputError: as :func:`read_labelled`, and if the frames are fewer than three or are not
            the same atoms in the same order.
    """
    frames = read_frames(path, keys=_keys(settings))
    if len(frames) < 3:
        raise InputError(f"{path}: a path needs at least 3 frames, this one has {len(frames)}")
    for frame in frames:
        if not np.array_equal(frame.atoms.numbers, frames[0].atoms.numbers):
            raise InputError(f"{frame.where}: not the same atoms in the same order as frame 0")
    return FrameSet(tuple(frames), _names([path]), _digest(frames), 0)


def reference(frames: FrameSet) -> dict[str, Any]:
    """The labels themselves, frame by frame, as the report's index keeps them.

    Energies in eV, forces in eV/Å, stresses in eV/Å³ (ASE's order and sign), dipoles in
    e·Å.
    """
    return {
        "files": frames.files,
        "digest": frames.digest,
        "n_isolated_atoms": frames.n_isolated_atoms,
        "notes": frames.notes,
        "formula": [frame.atoms.get_chemical_formula() for frame in frames.frames],
        "config_type": [frame.config_type for frame in frames.frames],
        "numbers": [frame.atoms.numbers for frame in frames.frames],
        "energy": [frame.energy for frame in frames.frames],
        "forces": [frame.forces for frame in frames.frames],
        "stress": [frame.stress for frame in frames.frames],
        "dipole": [frame.dipole for frame in frames.frames],
    }


def spread(items: Sequence[Any], number: int) -> list[int]:
    """Indices of at most ``number`` items, evenly spaced."""
    number = min(number, len(items))
    return sorted({round(index) for index in np.linspace(0, len(items) - 1, number)})


def _keys(settings: ReportSettings) -> Keys:
    return settings.keys(Keys(settings.energy_key, settings.forces_key, settings.stress_key))


def _is_isolated(frame: Frame) -> bool:
    return frame.config_type == "IsolatedAtom"


def _require_labels(path: Path, frames: Sequence[Frame], settings: ReportSettings) -> None:
    wanted = [("energy", settings.energy_key)]
    if settings.forces_key != "none":
        wanted.append(("forces", settings.forces_key))
    for number, frame in enumerate(frames):
        for label, key in wanted:
            if getattr(frame, label) is None and not _is_isolated(frame):
                remedy = say_candidates(path, number, label, f"--{label}_key")
                none = ", or --forces_key none if the data has none" if label == "forces" else ""
                raise InputError(f"{frame.where}: no {label} under the key '{key}'; {remedy}{none}")


def _notes(path: Path, frames: Sequence[Frame], settings: ReportSettings) -> list[str]:
    """Lines on stresses, dipoles and charges of atoms that a file has and that are not read."""
    lines = []
    periodic = [number for number, frame in enumerate(frames) if frame.atoms.pbc.all()]
    if periodic and all(frame.stress is None for frame in frames):
        lines.append(unread_stress(path, periodic[0], settings.stress_key))
    if "labels" not in settings.parts:
        return [line for line in lines if line]
    dipoles = [number for number, frame in enumerate(frames) if frame.dipole is not None]
    if dipoles:
        lines.append(unread_charges(path, dipoles[0]))
    else:
        kept = (number for number, frame in enumerate(frames) if not _is_isolated(frame))
        lines.append(unread_dipole(path, next(kept, 0), settings.dipole_key))
    return [line for line in lines if line]


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    return tuple(path.name for path in paths)


def _digest(frames: Sequence[Frame]) -> str:
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(frame.key.encode())
        for label in (frame.energy, frame.forces, frame.stress, frame.dipole):
            digest.update(b"-" if label is None else np.asarray(label, dtype=float).tobytes())
    return digest.hexdigest()[:16]
