"""Frames, labels and subsets of ``accuracy.py``, and the files that a training reads."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import subprocess
from pathlib import Path

import ase.io
import numpy as np
from _accuracy_regimes import DATASETS, POOL_FRAMES, VALIDATION_FRAMES, Cell

#: levels of theory whose labels are computed with :mod:`_accuracy_cheap`
NEEDS_CHEAP = ("cheap", "delta", "cheap_forces")


class DataError(ValueError):
    """Data that is not there, with the remedy."""


@dataclasses.dataclass(frozen=True)
class Sources:
    """Where data is found: ``data`` and ``curvature`` as given, ``cheap`` in the results."""

    data: Path
    curvature: Path | None
    cheap: Path

    def frames_file(self, stem: str) -> Path:
        """The frames of a data file, which must exist."""
        path = self.data / f"{stem}.xyz"
        if not path.is_file():
            raise DataError(f"--data {self.data}: there is no {path.name}; name the data folder")
        return path

    def curvature_file(self, dataset: str) -> Path | None:
        """The curvature labels of a data set's training frames, or None if there are none."""
        if self.curvature is None:
            return None
        stem = DATASETS[dataset].train
        found = sorted(self.curvature.glob(f"{stem}*.npz"))
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise DataError(f"--curvature {self.curvature}: several files of {stem}: {names}")
        return found[0] if found else None

    def label_cheaply(self, dataset: str, python: str) -> None:
        """Make the cheap labels of a data set, unless they are there."""
        for stem in (DATASETS[dataset].train, DATASETS[dataset].test):
            target = self.cheap / f"{stem}.npz"
            if not target.exists():
                self.cheap.mkdir(parents=True, exist_ok=True)
                script = Path(__file__).with_name("_accuracy_cheap.py")
                command = [python, str(script), str(self.frames_file(stem)), str(target)]
                if subprocess.run(command).returncode:
                    raise DataError(
                        f"{' '.join(command)} failed; name a Python that has ASE and "
                        "tblite, or matscipy for silicon, with --cheap-python"
                    )


@functools.cache
def digest(path: Path) -> str:
    """Identifies the content of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Frames with energies (n_frames,) in eV and one array of forces (n_atoms, 3) each, eV/Å."""

    frames: list[ase.Atoms]
    energies: np.ndarray
    forces: list[np.ndarray]


@functools.cache
def reference(sources: Sources, stem: str) -> Labelled:
    """A data file with its own labels."""
    frames = ase.io.read(sources.frames_file(stem), ":")
    energies = np.array([atoms.info["REF_energy"] for atoms in frames])
    return Labelled(frames, energies, [atoms.arrays["REF_forces"] for atoms in frames])


@functools.cache
def cheap(sources: Sources, stem: str) -> Labelled:
    """A data file with the labels of the cheap method."""
    frames = reference(sources, stem).frames
    with np.load(sources.cheap / f"{stem}.npz") as labels:
        ends = np.cumsum([len(atoms) for atoms in frames])[:-1]
        return Labelled(frames, labels["energies"], np.split(labels["forces"], ends))


def labelled(sources: Sources, stem: str, level: str) -> Labelled:
    """A data file at a level of theory, see :class:`~_accuracy_regimes.Cell`."""
    expensive = reference(sources, stem)
    if level == "reference":
        return expensive
    lower = cheap(sources, stem)
    if level == "cheap":
        return lower
    if level == "cheap_forces":
        return Labelled(expensive.frames, expensive.energies, lower.forces)
    assert level == "delta", level
    forces = [high - low for high, low in zip(expensive.forces, lower.forces, strict=True)]
    return Labelled(expensive.frames, expensive.energies - lower.energies, forces)


@dataclasses.dataclass(frozen=True)
class Subset:
    """Numbers of frames in the training file: disjoint, drawn by seed."""

    train: list[int]
    valid: list[int]
    pool: list[int]


def draw(cell: Cell, seed: int, n_frames: int) -> Subset:
    """The frames of a run; smaller training sets are part of larger ones of the same seed.

    Where training frames come from the leading ones, validation frames do not, and the pool
    holds leading ones first, because these have curvature labels.
    """
    order = np.random.default_rng([seed, 2408]).permutation(n_frames)
    leading = order[order < (cell.leading or n_frames)]
    others = order[order >= (cell.leading or n_frames)]
    train, spare = leading[: cell.frames], leading[cell.frames :]
    if len(train) < cell.frames:
        raise DataError(f"{cell.name}: only {len(train)} frames to draw from")
    candidates = others if len(others) else spare
    valid = candidates[:VALIDATION_FRAMES]
    pool = np.concatenate([spare, others])
    pool = pool[~np.isin(pool, valid)][:POOL_FRAMES]
    return Subset(*(part.tolist() for part in (train, valid, pool)))


def write(path: Path, data: Labelled, numbers: list[int], labels: str, shift: float = 0.0) -> None:
    """Write frames for MACE.

    Args:
        path: extended XYZ file.
        data: frames and labels.
        numbers: which frames.
        labels: "E+F", "E", or "" for none.
        shift: taken off every energy (eV).
    """
    frames = []
    for number in numbers:
        source = data.frames[number]
        atoms = ase.Atoms(source.numbers, source.positions, cell=source.cell, pbc=source.pbc)
        if labels:
            atoms.info["REF_energy"] = float(data.energies[number]) - shift
        if labels == "E+F":
            atoms.arrays["REF_forces"] = data.forces[number]
        frames.append(atoms)
    ase.io.write(path, frames, format="extxyz")
