"""Labels from frequency jobs, in the axes of their files or of given structures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import InputError
from ...frames.reading import ENERGY, FORCES
from ...labels.hessian_labels import HessianLabel
from .conversion import Converted, label_of
from .fitting import DISPLACED, fitted
from .frequency_jobs import FrequencyJob
from .label_file import is_label_file
from .plain_hessians import is_plain
from .readers import read_jobs, text_of
from .rigid_motions import rotation_between, turned
from .selection import select
from .solid_outputs import placed, read_solid_output
from .summary import how_to_train

if TYPE_CHECKING:
    from ase import Atoms


def from_outputs(
    paths: Sequence[Path], data: Path | None, index: str, geometries: Sequence[Path] = ()
) -> Converted:
    """Hessians of frequency jobs, with energies and forces of the same jobs where they are known.

    Args:
        paths: what :func:`.readers.read_jobs` reads.
        data: file with the same geometries in other orientations, to which everything is turned;
            None to keep those of the jobs.
        index: selection of those structures.
        geometries: of the files of force constants alone, one for each; empty to look beside them.

    Raises:
        InputError: for a job without Hessian, or whose Hessian does not fit its geometry.
    """
    targets = None if data is None else [frame.atoms for frame in select(data, index).frames]
    labels, where, frames, sources = [], [], [], []
    single = 0
    named = _geometries_of(paths, geometries)
    for path in paths:
        if path.is_file() and is_label_file(path):
            raise InputError(f"{path}: this is a label file already. {how_to_train(path)}")
        solid = read_solid_output(path)
        if solid is not None:
            label, frame = solid if targets is None else _placed(path, targets, *solid)
            labels.append(label)
            where.append(str(path))
            frames.append(frame)
            continue
        for job in read_jobs(path, text_of(path), named.get(path)):
            if len(job.numbers) == 1:
                single += 1
                continue
            try:
                label, forces = fitted(job)
                if targets is not None:
                    label, forces = _turned_to_one_of(targets, label, forces)
            except ValueError as error:
                raise InputError(f"{path}: {error}") from error
            labels.append(label)
            where.append(str(path))
            frames.append(_training_frame(label, job, forces))
            if job.source is not None and path not in named:
                sources.append(f"  {path}: with the geometry of {job.source}")
    names = ", ".join(path.name for path in paths)
    notes = sources + _stateless(frames, where)
    if not labels:
        raise InputError(f"{names}: of single atoms alone, whose Hessian is zero")
    if single:
        notes.append(f"  {single} single atoms left out: their Hessian is zero")
    return Converted(labels, where, f"frequency jobs: {names}", frames, notes)


def _placed(
    path: Path, targets: Sequence[Atoms], label: HessianLabel, frame: Atoms
) -> tuple[HessianLabel, Atoms]:
    try:
        return placed(targets, label, frame)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def _geometries_of(paths: Sequence[Path], geometries: Sequence[Path]) -> dict[Path, Path]:
    """The geometry of each file of force constants alone, as the user has named them.

    Raises:
        InputError: for another number of them.
    """
    if not geometries:
        return {}
    plain = [path for path in paths if is_plain(text_of(path))]
    if len(plain) != len(geometries):
        raise InputError(
            f"--geometry names {len(geometries)} files, but {len(plain)} of --from_output "
            "hold force constants alone and need one each, in the same order"
        )
    return dict(zip(plain, geometries, strict=True))


def _stateless(frames: Sequence[Atoms], where: Sequence[str]) -> list[str]:
    """A line on frames of which no file states charge or multiplicity."""
    lacking = [
        place
        for atoms, place in zip(frames, where, strict=True)
        if not {"charge", "spin"} <= atoms.info.keys()
    ]
    if not lacking:
        return []
    return [
        f"  no charge or no multiplicity is stated for {len(lacking)} of {len(frames)} structures "
        f"({lacking[0]}); their frames do not carry it"
    ]


def _turned_to_one_of(
    targets: Sequence[Atoms], label: HessianLabel, forces: np.ndarray | None
) -> tuple[HessianLabel, np.ndarray | None]:
    """Label and forces at the structure that is the same geometry, in its axes.

    Raises:
        ValueError: if there is none.
    """
    for atoms in targets:
        if not np.array_equal(atoms.numbers, label.numbers):
            continue
        if (
            label.pbc is not None
            and label.pbc.any()
            and np.abs(atoms.cell.array - label.cell).max() > DISPLACED
        ):
            continue
        rotation = rotation_between(label.positions, atoms.positions)
        if rotation is not None:
            turned_forces = None if forces is None else forces @ rotation
            hessian = turned(np.asarray(label.hessian), rotation)
            return label_of(atoms, hessian, label.atoms), turned_forces
    raise ValueError(
        "none of the given structures is this geometry, turned or moved, with the atoms in this "
        "order; without them, labels have the axes of the job"
    )


def _training_frame(label: HessianLabel, job: FrequencyJob, forces: np.ndarray | None) -> Atoms:
    """The structure of a label with what else its job knows."""
    from ase import Atoms

    atoms = Atoms(label.numbers, label.positions, cell=label.cell, pbc=label.pbc)
    known = {ENERGY: job.energy, "charge": job.charge, "spin": job.multiplicity}
    atoms.info |= {name: value for name, value in known.items() if value is not None}
    if forces is not None:
        atoms.arrays[FORCES] = forces
    return atoms
