"""Whether geometry, Hessian, forces and frequencies of a job belong together, and in which axes."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_masses_common

from ...labels.hessian_checks import translational_residue
from ...labels.hessian_labels import HessianLabel
from .conversion import label_of
from .frequencies import disagreement
from .frequency_jobs import FrequencyJob
from .rigid_motions import rotation_between, rotational_residue, turned
from .sanity import problem_of

#: residues of rigid motions relative to the largest element; integration grids leave 0.005
RESIDUE = 0.02
#: the same where frequencies confirm a Hessian; no more than training takes
CONFIRMED = 0.05
#: geometries of a job that differ by less than this (Å) per component are the same
DISPLACED = 1e-4


def fitted(job: FrequencyJob) -> tuple[HessianLabel, np.ndarray | None]:
    """Label and forces in the axes of the last geometry.

    Raises:
        ValueError: saying what does not fit.
    """
    moved = _moved(job) if _has_size(job) else np.ones(len(job.numbers), dtype=bool)
    if not moved.all():
        return _fitted_part(job, np.flatnonzero(moved))
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
        label = label_of(_structure(job), hessian)
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


def _structure(job: FrequencyJob) -> Atoms:
    return Atoms(job.numbers, job.geometries[-1], cell=job.cell, pbc=job.cell is not None)


def _moved(job: FrequencyJob) -> np.ndarray:
    """Which atoms have force constants: ``(n_atoms,)`` bool. Those kept frozen have zeros."""
    blocks = job.hessian.reshape(len(job.numbers), 3, len(job.numbers), 3) != 0
    moved: np.ndarray = blocks.any(axis=(1, 2, 3)) | blocks.any(axis=(0, 1, 3))
    return moved


def _fitted_part(job: FrequencyJob, moved: np.ndarray) -> tuple[HessianLabel, np.ndarray | None]:
    """Label and forces of a job that kept atoms frozen.

    Its frequencies alone can be checked, as frozen atoms do not take part in rigid motions, and
    they say nothing about the axes.

    Raises:
        ValueError: saying what does not fit.
    """
    if len(moved) == 0:
        raise ValueError("all force constants are 0; the job did not finish")
    if np.abs(job.geometries - job.geometries[-1]).max() > DISPLACED:
        raise ValueError(
            f"it keeps {len(job.numbers) - len(moved)} atoms frozen and holds several geometries "
            "or orientations, and nothing tells to which the Hessian belongs; give a file of the "
            "job that holds one (Gaussian: formchk job.chk)"
        )
    rows = (3 * moved[:, None] + np.arange(3)).ravel()
    label = label_of(_structure(job), job.hessian[np.ix_(rows, rows)], moved)
    problem = problem_of(label) or _other_frequencies(label, job)
    if problem is not None:
        raise ValueError(problem)
    forces = job.forces
    frozen = np.setdiff1d(np.arange(len(job.numbers)), moved)
    if forces is not None and not forces[frozen].any():
        forces = None  # set to 0 for frozen atoms, which is not their force
    return label, forces


def _signed(label: HessianLabel, forces: np.ndarray | None) -> np.ndarray | None:
    """Forces with the sign that the Hessian asks for: when it turns, they turn.

    Where they are too small to tell, gradients were read as what they are said to be.
    """
    if forces is None:
        return None
    hessian = np.asarray(label.hessian)
    residues = [rotational_residue(hessian, label.positions, sign * forces) for sign in (1, -1)]
    return -forces if residues[1] < 0.5 * residues[0] else forces


def _misfit(label: HessianLabel, forces: np.ndarray | None, job: FrequencyJob) -> str | None:
    """Why a Hessian cannot be that of its geometry, in words, or None."""
    share = RESIDUE if job.frequencies is None else CONFIRMED
    hessian = np.asarray(label.hessian)
    limit = share * float(np.abs(hessian).max())
    residue = translational_residue(label)
    if residue is not None and residue > limit:
        return (
            f"moving all atoms together changes the forces by {residue:.2g} eV/Å², which should "
            "be 0; is the Hessian mass-weighted, in another order, or of a part of the atoms?"
        )
    problem = _other_frequencies(label, job)
    if problem is not None or job.cell is not None:
        return problem
    residue = rotational_residue(hessian, label.positions, forces)
    # at a point that is not stationary, forces must be known; frequencies may do instead
    undecided = forces is None and job.frequencies is not None
    if residue > limit and not undecided:
        return (
            f"turning the molecule changes its forces by {residue:.2g} eV/Å² more than their "
            "turning with it explains; geometry, Hessian and forces are in different axes or "
            "orders of atoms, or the geometry is not stationary and the file lacks its forces"
        )
    return None


def _other_frequencies(label: HessianLabel, job: FrequencyJob) -> str | None:
    """Why the frequencies of the job are not those of its Hessian, in words, or None."""
    if job.frequencies is None:
        return None
    masses = [atomic_masses[job.numbers], atomic_masses_common[job.numbers]]
    masses = masses if job.masses is None else [job.masses, *masses]
    return disagreement(label, job.frequencies, masses)
