"""Frames, labels and subsets of ``accuracy.py``, and the structures that a training reads."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

import ase.io
import numpy as np
from _accuracy_cells import DATASETS, MADE_BY, VALIDATION_FRAMES, Cell
from _command import piwsl

#: data files of the repository
BUNDLED = Path(__file__).parents[1] / "data"
#: levels of theory that need labels of :mod:`_accuracy_cheap`
NEEDS_CHEAP = ("cheap", "delta", "cheap_forces")
#: displaced copies of each frame, and the standard deviation of their displacements (Å)
COPIES, COPY_DISPLACEMENT = 2, 0.05


class DataError(ValueError):
    """Data that is not there, with the remedy."""


@dataclasses.dataclass(frozen=True)
class Sources:
    """Where data is found.

    Attributes:
        data: folder of ``--data``.
        hessians: folder of ``--hessians``, or None.
        cheap: folder in the results for labels that are made here.
        python: a Python that has the cheap methods.
    """

    data: Path
    hessians: Path | None
    cheap: Path
    python: str

    def frames_file(self, stem: str) -> Path:
        """A data file, which must exist."""
        for folder in (self.data, BUNDLED, self.cheap):
            path = folder / f"{stem}.xyz"
            if path.is_file():
                return path
        raise DataError(f"--data {self.data}: there is no {stem}.xyz; name the data folder")

    def hessian_file(self, dataset: str, level: str = "reference") -> Path | None:
        """The Hessian labels of a data set's training frames, or None if there are none.

        Those of the cheap method are made by :meth:`prepare`.
        """
        own, stem = DATASETS[dataset].hessians, DATASETS[dataset].train
        if level == "cheap":
            return self.cheap / f"{stem}.{DATASETS[dataset].cheap}.hessian.npz"
        if own is not None:
            return self.frames_file(own)
        made = self.cheap / f"{stem}.hessian.npz"
        if made.is_file():
            return made
        files = sorted(self.hessians.glob(f"{stem}*.npz")) if self.hessians else []
        if len(files) > 1:
            names = ", ".join(path.name for path in files)
            raise DataError(f"--hessians {self.hessians}: several files of {stem}: {names}")
        return files[0] if files else None

    def make(self, dataset: str) -> None:
        """Make the files of a data set that is not in the data folder, unless they are there."""
        with contextlib.suppress(DataError):
            self.frames_file(DATASETS[dataset].train)
            self.frames_file(DATASETS[dataset].test)
            return
        if dataset not in MADE_BY:
            return
        script = Path(__file__).with_name(MADE_BY[dataset])
        command = [self.python, str(script), str(self.data), str(self.cheap)]
        if subprocess.run(command).returncode:
            raise DataError(
                f"{' '.join(command)} failed; name a Python that has what {script.name} needs "
                "with --cheap-python"
            )

    def prepare(self, cell: Cell, hessians: bool = False) -> None:
        """Make the labels that a cell needs beside those of its files, unless they are there.

        Args:
            cell: the cell.
            hessians: whether it needs Hessians, those of the cheap method if it is of that level.
        """
        dataset = DATASETS[cell.dataset]
        if hessians and cell.level == "cheap":
            self._label_hessians(cell.dataset)
        if cell.level in NEEDS_CHEAP:
            self.label(dataset.train, dataset.cheap)
            self.label(dataset.test, dataset.cheap)
        if cell.copies:
            assert dataset.reference is not None
            stem = f"{dataset.train}.displaced"
            if not (self.cheap / f"{stem}.xyz").exists():
                self.cheap.mkdir(parents=True, exist_ok=True)
                copies = [atoms for atoms in molecules(self, dataset.train) for _ in range(COPIES)]
                copies = [atoms.copy() for atoms in copies]
                for number, atoms in enumerate(copies):
                    atoms.rattle(COPY_DISPLACEMENT, seed=number)
                ase.io.write(self.cheap / f"{stem}.xyz", copies, columns=["symbols", "positions"])
            self.label(stem, dataset.reference)

    def label(self, stem: str, method: str) -> None:
        """Make the labels of a method for a data file, unless they are there."""
        target = self.labels_file(stem, method)
        if target.exists():
            return
        self.cheap.mkdir(parents=True, exist_ok=True)
        script = Path(__file__).with_name("_accuracy_cheap.py")
        command = [self.python, str(script), str(self.frames_file(stem)), method, str(target)]
        if subprocess.run(command).returncode:
            raise DataError(
                f"{' '.join(command)} failed; name a Python that has ASE and tblite, or matscipy "
                "for silicon, with --cheap-python"
            )

    def _label_hessians(self, dataset: str) -> None:
        target = self.hessian_file(dataset, "cheap")
        assert target is not None
        if target.exists():
            return
        frames, method = self.frames_file(DATASETS[dataset].train), DATASETS[dataset].cheap
        words = ("hessian", frames, "--calculator", method, "--out", target)
        try:
            piwsl(*words, python=self.python)
        except subprocess.CalledProcessError as error:
            raise DataError(str(error)) from error

    def labels_file(self, stem: str, method: str) -> Path:
        """Energies and forces of a method for a data file."""
        return self.cheap / f"{stem}.{method}.npz"


@functools.cache
def digest(path: Path) -> str:
    """Identifies the content of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@functools.cache
def molecules(sources: Sources, stem: str) -> list[ase.Atoms]:
    """The frames of a data file, without single atoms."""
    return [atoms for atoms in ase.io.read(sources.frames_file(stem), ":") if len(atoms) > 1]


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Frames with energies (n_frames,) in eV and one array of forces (n_atoms, 3) each, eV/Å."""

    frames: list[ase.Atoms]
    energies: np.ndarray
    forces: list[np.ndarray]

    def structures(self, numbers: Sequence[int], labels: str, shift: float) -> list[ase.Atoms]:
        """Structures for MACE.

        Args:
            numbers: of the frames.
            labels: "E+F" or "E".
            shift: taken off every energy (eV).
        """
        structures = []
        for number in numbers:
            source = self.frames[number]
            atoms = ase.Atoms(source.numbers, source.positions, cell=source.cell, pbc=source.pbc)
            atoms.info["REF_energy"] = float(self.energies[number]) - shift
            if labels == "E+F":
                atoms.arrays["REF_forces"] = self.forces[number]
            structures.append(atoms)
        return structures


def read_labels(frames: list[ase.Atoms], path: Path) -> Labelled:
    """Frames with the labels of a file of ``_accuracy_cheap.py``."""
    with np.load(path) as labels:
        ends = np.cumsum([len(atoms) for atoms in frames])[:-1]
        return Labelled(frames, labels["energies"], np.split(labels["forces"], ends))


@functools.cache
def computed(sources: Sources, stem: str, method: str) -> Labelled:
    """A data file with the labels that a method gave here."""
    return read_labels(molecules(sources, stem), sources.labels_file(stem, method))


def labelled(sources: Sources, dataset: str, part: str, level: str) -> Labelled:
    """The "train" or "test" file of a data set at a level of theory, see ``Cell.level``."""
    stem = getattr(DATASETS[dataset], part)
    if level == "reference":
        frames = molecules(sources, stem)
        energies = np.array([atoms.info["REF_energy"] for atoms in frames])
        return Labelled(frames, energies, [atoms.arrays["REF_forces"] for atoms in frames])
    lower = computed(sources, stem, DATASETS[dataset].cheap)
    if level == "cheap":
        return lower
    expensive = labelled(sources, dataset, part, "reference")
    if level == "cheap_forces":
        return Labelled(expensive.frames, expensive.energies, lower.forces)
    assert level == "delta", level
    forces = [high - low for high, low in zip(expensive.forces, lower.forces, strict=True)]
    return Labelled(expensive.frames, expensive.energies - lower.energies, forces)


@dataclasses.dataclass(frozen=True)
class Subset:
    """Numbers of frames in the training file, drawn by seed.

    Attributes:
        train: labelled frames of the cell.
        new: those that a variant has beside them.
        valid: for validation.
        spare: leading frames that are in none of these.
    """

    train: list[int]
    new: list[int]
    valid: list[int]
    spare: list[int]

    @property
    def copies(self) -> list[list[int]]:
        """Numbers of the displaced copies of ``train``, the first of each, the second of each."""
        return [[COPIES * number + copy for number in self.train] for copy in range(COPIES)]


def draw(cell: Cell, seed: int, n_frames: int) -> Subset:
    """The frames of a run; smaller training sets are part of larger ones of the same seed.

    Where training frames come from the leading ones, validation and new frames do not.
    """
    order = np.random.default_rng([seed, 2408]).permutation(n_frames)
    order = order[order >= cell.always]
    leading = order[order < (cell.leading or n_frames)]
    others = order[order >= (cell.leading or n_frames)]
    train, spare = leading[: cell.frames], leading[cell.frames :]
    candidates = others if len(others) else spare
    last = VALIDATION_FRAMES + cell.new * cell.frames
    new = candidates[VALIDATION_FRAMES:last]
    if len(train) < cell.frames or len(new) < cell.new * cell.frames:
        raise DataError(f"{cell.name}: too few of the {n_frames} frames to draw from")
    if cell.always:  # labels for testing are among the others
        train, spare = np.concatenate([np.arange(cell.always), train]), others[last:]
    elif not len(others):
        spare = spare[last:]
    return Subset(*(part.tolist() for part in (train, new, candidates[:VALIDATION_FRAMES], spare)))
