"""Labels from frequency jobs, whose parts must fit each other: axes, order of atoms, units."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.data import atomic_masses, atomic_masses_common

from ...core.hessian_checks import translational_residue
from ...core.hessian_labels import HessianLabel
from ..errors import InputError
from ..structures import LabelKeys
from .conversion import Converted, label_of
from .frequencies import disagreement
from .frequency_jobs import FrequencyJob, read_job
from .orca_hessian import read_orca_hessian
from .rigid_motions import rotation_between, rotational_residue, turned
from .sanity import problem_of
from .selection import select
from .solid_outputs import placed, read_solid_output

if TYPE_CHECKING:
    from ase import Atoms

#: residues of rigid motions relative to the largest element; integration grids leave 0.005
RESIDUE = 0.02
#: geometries of a job that differ by less than this (Å) per component are the same
DISPLACED = 1e-4


def from_outputs(paths: Sequence[Path], data: Path | None, index: str) -> Converted:
    """Hessians of frequency jobs, with energies and forces of the same jobs where they are known.

    Args:
        paths: outputs and formatted checkpoints that cclib reads, and ``.hess`` files of ORCA.
        data: file with the same geometries in other orientations, to which everything is turned;
            None to keep those of the jobs.
        index: selection of those structures.

    Raises:
        InputError: for a job without Hessian, or whose Hessian does not fit its geometry.
    """
    targets = None if data is None else [frame.atoms for frame in select(data, index).frames]
    labels, frames = [], []
    for path in paths:
        solid = read_solid_output(path)
        if solid is not None:
            label, frame = solid if targets is None else _placed(path, targets, *solid)
            labels.append(label)
            frames.append(frame)
            continue
        job = read_orca_hessian(path) if path.suffix == ".hess" else read_job(path)
        try:
            label, forces = _fitted(job)
            if targets is not None:
                label, forces = _turned_to_one_of(targets, label, forces)
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error
        labels.append(label)
        frames.append(_training_frame(label, job, forces))
    names = ", ".join(path.name for path in paths)
    return Converted(labels, [str(path) for path in paths], f"frequency jobs: {names}", frames)


def _placed(
    path: Path, targets: Sequence[Atoms], label: HessianLabel, frame: Atoms
) -> tuple[HessianLabel, Atoms]:
    try:
        return placed(targets, label, frame)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def _fitted(job: FrequencyJob) -> tuple[HessianLabel, np.ndarray | None]:
    """Label and forces in the axes of the last geometry.

    Raises:
        ValueError: saying what does not fit.
    """
    if _ends_displaced(job.geometries):
        raise ValueError(
            "the last geometry of the file is a displacement of the first, of derivatives by "
            "differences; give a file of the job that holds the geometry of the Hessian alone"
        )
    problems = []
    for geometry in job.geometries[::-1]:
        rotation = rotation_between(geometry, job.geometries[-1])
        if rotation is None:
            continue
        hessian = turned(job.hessian, rotation) if _has_size(job) else job.hessian
        label = _label(job.numbers, job.geometries[-1], hessian)
        problem = problem_of(label)
        if problem is not None:
            raise ValueError(problem)
        forces = _signed(label, job.forces)
        problem = _misfit(label, forces, job)
        if problem is None:
            return label, forces
        problems.append(problem)
    raise ValueError(problems[0])


def _ends_displaced(geometries: np.ndarray) -> bool:
    """Whether the last geometry and another one are the first one, displaced to and fro."""
    first, last = geometries[0], geometries[-1]
    opposite = np.abs(geometries + last - 2 * first).max(axis=(1, 2)) < DISPLACED
    return bool(np.abs(last - first).max() > DISPLACED and opposite.any())


def _has_size(job: FrequencyJob) -> bool:
    return job.hessian.shape == (3 * len(job.numbers),) * 2


def _label(numbers: np.ndarray, positions: np.ndarray, hessian: np.ndarray) -> HessianLabel:
    from ase import Atoms

    return label_of(Atoms(numbers, positions), hessian)


def _signed(label: HessianLabel, forces: np.ndarray | None) -> np.ndarray | None:
    """Forces with the sign that the Hessian asks for: when it turns, they turn.

    Where they are too small to tell, gradients were read as what they are said to be.
    """
    if forces is None:
        return None
    residues = [
        rotational_residue(label.hessian, label.positions, sign * forces) for sign in (1, -1)
    ]
    return -forces if residues[1] < 0.5 * residues[0] else forces


def _misfit(label: HessianLabel, forces: np.ndarray | None, job: FrequencyJob) -> str | None:
    """Why a Hessian cannot be that of its geometry, in words, or None."""
    limit = RESIDUE * float(np.abs(label.hessian).max())
    residue = translational_residue(label)
    if residue > limit:
        return (
            f"moving all atoms together changes the forces by {residue:.2g} eV/Å², which should "
            "be 0; is the Hessian mass-weighted, in another order, or of a part of the atoms?"
        )
    if job.frequencies is not None:
        masses = [atomic_masses[job.numbers], atomic_masses_common[job.numbers]]
        masses = masses if job.masses is None else [job.masses, *masses]
        problem = disagreement(label, job.frequencies, masses)
        if problem is not None:
            return problem
    residue = rotational_residue(label.hessian, label.positions, forces)
    # at a point that is not stationary, forces must be known; frequencies may do instead
    undecided = forces is None and job.frequencies is not None
    if residue > limit and not undecided:
        return (
            f"turning the molecule changes its forces by {residue:.2g} eV/Å² more than their "
            "turning with it explains; geometry, Hessian and forces are in different axes or "
            "orders of atoms, or the geometry is not stationary and the file lacks its forces"
        )
    return None


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
        rotation = rotation_between(label.positions, atoms.positions)
        if rotation is not None:
            turned_forces = None if forces is None else forces @ rotation
            return label_of(atoms, turned(label.hessian, rotation)), turned_forces
    raise ValueError(
        "none of the given structures is this geometry, turned or moved, with the atoms in this "
        "order; without them, labels have the axes of the job"
    )


def _training_frame(label: HessianLabel, job: FrequencyJob, forces: np.ndarray | None) -> Atoms:
    """The structure of a label with what else its job knows."""
    from ase import Atoms

    atoms = Atoms(label.numbers, label.positions, cell=label.cell, pbc=label.pbc)
    keys = LabelKeys()
    known = {keys.energy: job.energy, "charge": job.charge, "spin": job.multiplicity}
    atoms.info |= {name: value for name, value in known.items() if value is not None}
    if forces is not None:
        atoms.arrays[keys.forces] = forces
    return atoms
