"""FHI-aims: the plain matrix that its scripts for vibrations write, beside the geometry."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...labels.hessian_labels import HessianLabel
from .conversion import label_of

if TYPE_CHECKING:
    from ase import Atoms

#: coordinates (Å) in the file of masses, of four decimals
_SAME = 1e-3


def is_hessian_of_aims(path: Path) -> bool:
    """Whether a file is ``hessian.NAME.dat`` with ``masses.NAME.dat`` beside it."""
    return path.name.startswith("hessian.") and _masses_beside(path).is_file()


def _masses_beside(path: Path) -> Path:
    return path.with_name("masses." + path.name.removeprefix("hessian."))


def read_aims_hessian(path: Path) -> tuple[HessianLabel, Atoms]:
    """Label and structure; the matrix is in eV/Å², of the atoms that are not constrained.

    Raises:
        ValueError: without the geometry beside it.
    """
    hessian = np.loadtxt(path, ndmin=2)
    rows = [line.split() for line in _masses_beside(path).read_text().splitlines() if line.strip()]
    # mass, x, y, z and the element, which sticks to z
    moved = np.array([[re.sub("[A-Za-z]+$", "", word) for word in row[1:4]] for row in rows], float)
    name = path.name.removeprefix("hessian.").removesuffix(".dat")
    places = (f"{name}_relaxation/geometry.in.next_step", "geometry.in", f"geometry.in.{name}")
    for place in places:
        file = path.parent / place
        found = _indices(file, moved) if file.is_file() else None
        if found is None:
            continue
        atoms, indices = found
        if hessian.shape != (3 * len(indices),) * 2:
            raise ValueError(f"{hessian.shape} numbers do not belong to {len(indices)} atoms")
        return label_of(atoms, hessian, indices), atoms
    raise ValueError(
        f"none of {', '.join(places)} beside it has the {len(moved)} atoms of "
        f"{_masses_beside(path).name} at their places; put the geometry there"
    )


def _indices(path: Path, moved: np.ndarray) -> tuple[Atoms, np.ndarray] | None:
    """The geometry, and which of its atoms are at these places, in their order."""
    from ase.io import read

    atoms: Any = read(path, format="aims")
    away = np.abs(atoms.positions[None] - moved[:, None]).max(axis=2)
    if away.size == 0 or (away.min(axis=1) > _SAME).any():
        return None
    atoms.set_constraint()
    return atoms, away.argmin(axis=1)
