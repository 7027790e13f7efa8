"""Labelled frames and paths of frames, read from extended XYZ files and checked."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import ReportError
from .settings import ReportSettings

if TYPE_CHECKING:
    from ase import Atoms


@dataclasses.dataclass(frozen=True)
class Frame:
    """One structure with its labels.

    Attributes:
        atoms: the bare structure, without calculator and constraints.
        where: file and frame number (from 0), for messages.
        config_type: its ``config_type``, or "" if it has none.
        energy: total energy in eV, or None.
        forces: ``(n_atoms, 3)`` in eV/Å, or None.
        stress: ``(6,)`` in eV/Å³ in ASE's order and sign, or None.
    """

    atoms: Atoms
    where: str
    config_type: str
    energy: float | None
    forces: np.ndarray | None
    stress: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Frames:
    """The frames of one or several files, and the digest that identifies what was read."""

    frames: tuple[Frame, ...]
    files: tuple[str, ...]
    digest: str
    n_isolated_atoms: int


def read_labelled(paths: Sequence[Path], settings: ReportSettings) -> Frames:
    """The labelled frames of ``paths``; frames with ``config_type=IsolatedAtom`` are left out.

    Raises:
        ReportError: for a file that cannot be read or is empty, a frame without energy, or
            without forces although ``forces_key`` is not "none", and labels that are not finite
            or of the wrong shape.
    """
    found = [frame for path in paths for frame in _read(path, settings)]
    kept = [frame for frame in found if frame.config_type != "IsolatedAtom"]
    if not kept:
        names = ", ".join(str(path) for path in paths)
        raise ReportError(f"{names}: no frames are left without the isolated atoms")
    for frame in kept:
        if frame.energy is None:
            raise _missing(frame, "energy", settings.energy_key, "--energy-key")
        if frame.forces is None and settings.forces_key != "none":
            raise _missing(frame, "forces", settings.forces_key, "--forces-key")
    n_isolated = len(found) - len(kept)
    if 0 < settings.max_frames < len(kept):
        chosen = np.linspace(0, len(kept) - 1, settings.max_frames).round().astype(int)
        kept = [kept[index] for index in chosen]
    return Frames(tuple(kept), _names(paths), _digest(kept), n_isolated)


def read_path(path: Path, settings: ReportSettings) -> Frames:
    """The frames of a scan, in order; labels are optional.

    Raises:
        ReportError: as :func:`read_labelled`, and if the frames are fewer than three or are not
            the same atoms in the same order.
    """
    frames = list(_read(path, settings))
    if len(frames) < 3:
        raise ReportError(f"{path}: a path needs at least 3 frames, this one has {len(frames)}")
    for frame in frames:
        if not np.array_equal(frame.atoms.numbers, frames[0].atoms.numbers):
            raise ReportError(f"{frame.where}: not the same atoms in the same order as frame 0")
    return Frames(tuple(frames), _names([path]), _digest(frames), 0)


def spread(frames: Frames, number: int) -> list[int]:
    """Indices of at most ``number`` frames, evenly spaced."""
    number = min(number, len(frames.frames))
    return sorted({round(index) for index in np.linspace(0, len(frames.frames) - 1, number)})


def _read(path: Path, settings: ReportSettings) -> Iterator[Frame]:
    from ase import Atoms
    from ase.io import iread

    if not path.is_file():
        raise ReportError(f"{path}: there is no such file")
    if path.stat().st_size == 0:
        raise ReportError(f"{path}: the file is empty")
    number = 0
    try:
        for number, atoms in enumerate(iread(path, index=":", format="extxyz")):
            where = f"{path} frame {number}"
            bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
            for name in ("charge", "spin"):
                if name in atoms.info:
                    bare.info[name] = atoms.info[name]
            if len(bare) == 0:
                raise ReportError(f"{where}: the frame has no atoms")
            if not np.isfinite(bare.positions).all():
                raise ReportError(f"{where}: a position is not finite")
            energy = _label(atoms, settings.energy_key, where, 1)
            yield Frame(
                atoms=bare,
                where=where,
                config_type=str(atoms.info.get("config_type", "")),
                energy=None if energy is None else float(energy[0]),
                forces=_forces(atoms, settings.forces_key, where),
                stress=_stress(atoms, settings.stress_key, where),
            )
            number += 1
    except ReportError:
        raise
    except Exception as error:
        # ASE raises its own, index and value errors for malformed files, sometimes empty
        reason = str(error) or type(error).__name__
        raise ReportError(f"{path} frame {number}: cannot be read ({reason})") from error
    if number == 0:
        raise ReportError(f"{path}: the file holds no frames")


def _label(atoms: Atoms, key: str, where: str, size: int) -> np.ndarray | None:
    """A label as a flat array, wherever ASE put it: info, arrays or the frame's calculator."""
    results = {} if atoms.calc is None else atoms.calc.results
    for container in (atoms.info, atoms.arrays, results):
        if key in container:
            try:
                value = np.asarray(container[key], dtype=float).ravel()
            except (TypeError, ValueError):
                raise ReportError(f"{where}: '{key}' is not numeric") from None
            if value.size != size:
                raise ReportError(f"{where}: '{key}' has {value.size} numbers, {size} expected")
            if not np.isfinite(value).all():
                raise ReportError(f"{where}: '{key}' is not finite")
            return value
    return None


def _forces(atoms: Atoms, key: str, where: str) -> np.ndarray | None:
    forces = _label(atoms, key, where, 3 * len(atoms))
    return None if forces is None else forces.reshape(-1, 3)


def _stress(atoms: Atoms, key: str, where: str) -> np.ndarray | None:
    from ase.stress import full_3x3_to_voigt_6_stress

    full = np.size(atoms.info.get(key, np.zeros(6))) == 9
    stress = _label(atoms, key, where, 9 if full else 6)
    if stress is None or not full:
        return stress
    return full_3x3_to_voigt_6_stress(stress.reshape(3, 3))


def _missing(frame: Frame, what: str, key: str, option: str) -> ReportError:
    none = ", or --forces-key none if the data has none" if what == "forces" else ""
    return ReportError(
        f"{frame.where}: no {what} under the key '{key}'; name the right key with {option}{none}"
    )


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    return tuple(path.name for path in paths)


def _digest(frames: Sequence[Frame]) -> str:
    digest = hashlib.sha256()
    for frame in frames:
        atoms = frame.atoms
        for array in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc):
            digest.update(np.ascontiguousarray(array).tobytes())
        for label in (frame.energy, frame.forces, frame.stress):
            digest.update(b"-" if label is None else np.asarray(label, dtype=float).tobytes())
    return digest.hexdigest()[:16]
