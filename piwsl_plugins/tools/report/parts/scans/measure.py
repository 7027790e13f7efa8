"""One-dimensional scans: bond stretches made here, and paths of frames given by the user."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .....frames.bonds import bonds
from ....loaded_calculators import LoadedCalculator
from ...frame_set import FrameSet
from . import ScanOptions

#: bond-stretch scans are made on the first frame of each of this many formulas
MAX_FORMULAS = 3


@dataclasses.dataclass(frozen=True)
class Scan:
    """Structures along a line.

    Attributes:
        name: of the scan, usable as a file name.
        title: for people.
        axis: what the coordinate is, with its unit.
        coordinate: ``(n_points,)`` in Å.
        structures: the points.
        where: name of each point, for messages.
        energy: label of each point in eV (None where there is none), or None.
    """

    name: str
    title: str
    axis: str
    coordinate: np.ndarray
    structures: list[Atoms]
    where: list[str]
    energy: list[float | None] | None = None


def bond_stretches(frames: FrameSet, options: ScanOptions) -> list[Scan]:
    """One scan for every pair of elements that is bonded, on the first frame of each formula.

    The smaller of the two fragments that the bond joins moves along the bond; where they are
    joined elsewhere too (rings, crystals), the atom with fewer bonds moves alone.
    """
    found: list[Scan] = []
    seen: set[str] = set()
    for frame in frames.frames:
        formula = frame.atoms.get_chemical_formula()
        if formula in seen or len(seen) == MAX_FORMULAS:
            continue
        seen.add(formula)
        pairs: set[tuple[str, ...]] = set()
        first, second, vectors = bonds(frame.atoms)
        for i, j, vector in zip(first, second, vectors, strict=True):
            pair = tuple(sorted((frame.atoms.symbols[i], frame.atoms.symbols[j])))
            if i < j and pair not in pairs:
                pairs.add(pair)
                found.append(_stretch(frame.atoms, frame.where, i, j, vector, options))
    return found


def path_scan(name: str, frames: FrameSet) -> Scan:
    """A user's path; the coordinate is its length, √Σ|Δr|² over all atoms from frame to frame."""
    structures = [frame.atoms for frame in frames.frames]
    steps = [0.0] + [float(np.linalg.norm(step)) for step in _steps(structures)]
    return Scan(
        name=f"path-{name}",
        title=name,
        axis="path length (Å)",
        coordinate=np.cumsum(steps),
        structures=structures,
        where=[frame.where for frame in frames.frames],
        energy=[frame.energy for frame in frames.frames],
    )


def digest(scan: Scan) -> str:
    """Identifies the structures and labels of a scan."""
    found = hashlib.sha256(repr(scan.energy).encode())
    for atoms in scan.structures:
        # rounded, as environments differ in the last digits of computed structures
        lengths = np.round([*atoms.positions, *atoms.cell.array], 6) + 0.0
        for array in (atoms.numbers, lengths, atoms.pbc):
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def follow(model: LoadedCalculator, scan: Scan, advance: Callable[[], None]) -> dict[str, Any]:
    """A model along a scan; ``advance`` is called after every point.

    Returns:
        ``coordinate`` (Å) and ``energy`` (eV) of the points; for every interval between two
        points ``work`` (eV), the work of the model's forces by Simpson's rule with the point
        half-way, which is −ΔE if forces are the gradient, and ``length`` (Å), the length
        √Σ|Δr|² of the step;
        for every point ``force`` (eV/Å), the force along the path; ``label`` (eV).
    """
    evaluations, half_way = [], []
    steps = _steps(scan.structures)
    for number, (atoms, where) in enumerate(zip(scan.structures, scan.where, strict=True)):
        evaluations.append(model.evaluate(atoms, where, finite=False))
        if number < len(steps):
            middle = atoms.copy()
            middle.positions += 0.5 * steps[number]
            half_way.append(model.evaluate(middle, f"{where} and half a step", finite=False))
        advance()
    forces = np.array([evaluation.forces for evaluation in evaluations])
    half_way_forces = np.array([evaluation.forces for evaluation in half_way])
    length = np.linalg.norm(steps.reshape(len(steps), -1), axis=1)
    at_start, at_middle, at_end = (
        (f * steps).sum(axis=(1, 2)) for f in (forces[:-1], half_way_forces, forces[1:])
    )
    along = np.array([at_start, at_end]) / np.where(length > 0, length, np.nan)
    # inner points lie between two steps: the mean of the force along both
    force = np.concatenate([along[0, :1], 0.5 * (along[0, 1:] + along[1, :-1]), along[1, -1:]])
    return {
        "title": scan.title,
        "axis": scan.axis,
        "coordinate": scan.coordinate,
        "energy": [evaluation.energy for evaluation in evaluations],
        "force": force,
        "work": (at_start + 4 * at_middle + at_end) / 6,
        "length": length,
        "label": scan.energy,
    }


def _stretch(
    atoms: Atoms, where: str, i: int, j: int, vector: np.ndarray, options: ScanOptions
) -> Scan:
    moving, direction = _moving(atoms, i, j), vector / np.linalg.norm(vector)
    if not moving[j]:
        direction = -direction
    bond = float(np.linalg.norm(vector))
    shortest, longest = options.stretch
    lengths = np.linspace(shortest, longest, options.scan_points) * bond
    structures = []
    for length in lengths:
        moved = atoms.copy()
        moved.positions[moving] += (length - bond) * direction
        structures.append(moved)
    symbols, formula = atoms.symbols, atoms.get_chemical_formula()
    return Scan(
        name=f"stretch-{formula}-{symbols[i]}{symbols[j]}",
        title=f"{symbols[i]}–{symbols[j]} stretch, {formula}",
        axis=f"{symbols[i]}{i}–{symbols[j]}{j} distance (Å)",
        coordinate=lengths,
        structures=structures,
        where=[f"{where}, {symbols[i]}{i}-{symbols[j]}{j} at {length:.2f} Å" for length in lengths],
    )


def _moving(atoms: Atoms, i: int, j: int) -> np.ndarray:
    """Mask of the atoms that move when the bond i–j is stretched; holds exactly one of both."""
    first, second, _ = bonds(atoms)
    kept = ~(((first == i) & (second == j)) | ((first == j) & (second == i)))
    n_atoms = len(atoms)
    graph = coo_array((np.ones(kept.sum()), (first[kept], second[kept])), shape=(n_atoms, n_atoms))
    _, fragment = connected_components(graph, directed=False)
    sides: list[np.ndarray] = [fragment == fragment[i], fragment == fragment[j]]
    if fragment[i] == fragment[j]:
        counts = np.bincount(first, minlength=n_atoms)
        alone = i if counts[i] < counts[j] else j
        sides = [np.arange(n_atoms) == alone]
    return min(sides, key=np.sum)


def _steps(structures: list[Atoms]) -> np.ndarray:
    """Displacements ``(n_points - 1, n_atoms, 3)`` in Å, across periodic boundaries if shorter."""
    steps = []
    for start, end in itertools.pairwise(structures):
        step, _ = find_mic(end.positions - start.positions, start.cell, start.pbc)
        steps.append(step)
    return np.array(steps)
