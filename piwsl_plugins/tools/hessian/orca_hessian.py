"""ORCA's ``.hess`` file, which cclib does not read."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
from ase import units
from ase.data import atomic_numbers

from ..errors import InputError, reason_of
from .frequency_jobs import FrequencyJob
from .rigid_motions import rotation_between


def read_orca_hessian(path: Path) -> FrequencyJob:
    """The job of a ``.hess`` file; energy and forces from the ``.out`` beside it, if there is one.

    Raises:
        InputError: for a file that cannot be read, and an ``.out`` of another geometry.
    """
    try:
        blocks = dict(re.findall(r"^\$(\w+)\n(.*?)(?=^[$#]|\Z)", path.read_text(), re.M | re.S))
        atoms = [line.split() for line in blocks["atoms"].splitlines()[1:] if line.strip()]
        numbers = np.array([atomic_numbers[atom[0].capitalize()] for atom in atoms])
        masses, positions = np.split(np.array([atom[1:5] for atom in atoms], float), [1], axis=1)
        hessian = _matrix(blocks["hessian"])
        modes = blocks.get("vibrational_frequencies", "").split()[1:]
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise InputError(f"{path}: not a whole .hess file of ORCA ({reason_of(error)})") from error
    positions = positions * units.Bohr
    output = path.with_suffix(".out")
    energy, forces = _of_output(output, numbers, positions) if output.is_file() else (None, None)
    return FrequencyJob(
        numbers,
        positions[None],
        hessian * units.Hartree / units.Bohr**2,
        energy,
        forces,
        masses[:, 0],
        np.array(modes[1::2], dtype=float) if modes else None,
    )


def _of_output(
    path: Path, numbers: np.ndarray, positions: np.ndarray
) -> tuple[float | None, np.ndarray | None]:
    """Energy (eV) and forces (eV/Å) of an output, both None for numerical frequencies.

    The last energy that these print may be that of a displaced geometry.
    """
    from ase.io import read

    if "ORCA NUMERICAL FREQUENCIES" in path.read_text(errors="replace"):
        return None, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of optimisations that did not converge
            atoms = read(path, index=-1, format="orca-output")
    except Exception as error:  # whatever a truncated file leads to
        raise InputError(f"{path}: ASE cannot read this ({reason_of(error)})") from error
    rotation = None
    if np.array_equal(atoms.numbers, numbers):
        rotation = rotation_between(atoms.positions, positions)
    if rotation is None:
        raise InputError(f"{path} ends with another geometry than the .hess file beside it")
    energy, forces = (atoms.calc.results.get(name) for name in ("energy", "forces"))
    return energy, None if forces is None else forces @ rotation


def _matrix(block: str) -> np.ndarray:
    """A matrix in groups of columns, each under a line with their numbers."""
    first, *lines = block.strip().splitlines()
    size = int(first)
    groups = [lines[start + 1 : start + 1 + size] for start in range(0, len(lines), size + 1)]
    return np.hstack([[[float(x) for x in line.split()[1:]] for line in g] for g in groups])
