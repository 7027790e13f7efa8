"""ORCA's ``.hess`` file, which cclib does not read, and the output beside it."""

from __future__ import annotations

import dataclasses
import functools
import glob
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from ase.data import atomic_numbers

from ...errors import InputError, reason_of
from .frequency_jobs import FrequencyJob
from .rigid_motions import rotation_between

_OUTPUT = re.compile(r"\* +O +R +C +A +\*")
_CHARGE = re.compile(r"Total Charge +Charge +\.+ +(-?\d+)")
_MULTIPLICITY = re.compile(r"Multiplicity +Mult +\.+ +(\d+)")
#: the line of the input, which outputs repeat, that opens the geometry
_INPUT = re.compile(
    r"^\| *\d+> *\* *(?:xyz|xyzfile|int|internal|gzmt) +(-?\d+) +(\d+)", re.M | re.I
)
_ENERGY = re.compile(r"FINAL SINGLE POINT ENERGY +(-?\d+\.\d+)")
_THERMOCHEMISTRY = re.compile(r"^Electronic energy +\.+ +(-?\d+\.\d+) Eh", re.MULTILINE)
_TABLE = re.compile(r"^CARTESIAN COORDINATES \(ANGSTROEM\)\n-+\n(.*?)\n *\n", re.M | re.S)
#: hartree; thermochemistry is printed with eight decimals
_SAME_ENERGY = 1e-7


@dataclasses.dataclass(frozen=True)
class _Output:
    """What an output knows of the job; energy in eV, forces ``(n_atoms, 3)`` in eV/Å."""

    path: Path
    energy: float | None
    forces: np.ndarray | None
    charge: int | None
    multiplicity: int | None

    def agrees_with(self, other: _Output) -> bool:
        """Whether both may be outputs of one job."""
        if (self.charge, self.multiplicity) != (other.charge, other.multiplicity):
            return False
        if self.energy is None or other.energy is None:
            return self.energy == other.energy
        return abs(self.energy - other.energy) < 1e-5


def is_orca_hessian(text: str) -> bool:
    """Whether this is a ``.hess`` file of ORCA."""
    return "$orca_hessian_file" in text[:10000]


def read_orca_hessian(path: Path, text: str) -> FrequencyJob:
    """The job of a ``.hess`` file, with energy, forces, charge and multiplicity of its output.

    The output is the file of the same name with any ending, or the one in the folder that names
    the input of the same name.

    Args:
        path: its name; files beside it are looked at.
        text: what it holds.

    Raises:
        InputError: for a file that cannot be read, an output of another geometry alone, and for
            two outputs that contradict each other.
    """
    try:
        blocks = dict(re.findall(r"^\$(\w+)\n(.*?)(?=^[$#]|\Z)", text, re.M | re.S))
        atoms = [line.split() for line in blocks["atoms"].splitlines()[1:] if line.strip()]
        numbers = np.array([atomic_numbers[atom[0].capitalize()] for atom in atoms])
        masses, positions = np.split(np.array([atom[1:5] for atom in atoms], float), [1], axis=1)
        hessian = _matrix(blocks["hessian"])
        modes = blocks.get("vibrational_frequencies", "").split()[1:]
        scale = float(blocks.get("frequency_scale_factor", "1").split()[0])
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise InputError(f"{path}: not a whole .hess file of ORCA ({reason_of(error)})") from error
    positions = positions * units.Bohr
    output = _output_of(path, numbers, positions)
    return FrequencyJob(
        numbers,
        positions[None],
        hessian * units.Hartree / units.Bohr**2,
        output.energy,
        output.forces,
        masses[:, 0],
        np.array(modes[1::2], dtype=float) if modes and scale == 1 else None,
        output.charge,
        output.multiplicity,
    )


def _output_of(path: Path, numbers: np.ndarray, positions: np.ndarray) -> _Output:
    """The output of a ``.hess`` file, without anything if there is none.

    Raises:
        InputError: if all are of another geometry, or two contradict each other.
    """
    outputs, problems = [], []
    for found, text in _outputs_beside(path):
        try:
            outputs.append(_read_output(found, text, numbers, positions))
        except InputError as error:
            problems.append(error)
    if not outputs:
        if problems:
            raise problems[0]
        return _Output(path, None, None, *_state_of_optimisation(path, numbers, positions))
    for other in outputs[1:]:
        if not other.agrees_with(outputs[0]):
            raise InputError(
                f"{path}: {outputs[0].path.name} and {other.path.name} beside it may both be its "
                "output, and their energies, charges or multiplicities differ; move one away"
            )
    return outputs[0]


def _state_of_optimisation(
    path: Path, numbers: np.ndarray, positions: np.ndarray
) -> tuple[int | None, int | None]:
    """Charge and multiplicity where an optimisation made the Hessian (``job.001.hess``)."""
    if not re.fullmatch(r"\.\d{3}", Path(path.stem).suffix):
        return None, None
    for _, text in _outputs_beside(path.with_name(f"{Path(path.stem).stem}.hess")):
        tables = [_table(table) for table in _TABLE.findall(text)]
        if any(_rotation(table, numbers, positions) is not None for table in tables):
            return _state(text)
    return None, None


def _outputs_beside(path: Path) -> list[tuple[Path, str]]:
    """Outputs of ORCA with the same name, or if there are none, with an input of that name."""
    names = {path.with_suffix(""), *path.parent.glob(f"{glob.escape(path.stem)}.*")}
    found = [name for name in sorted(names - {path}) if name.is_file() and _is_output(name)]
    if not found:
        modified = path.parent.stat().st_mtime_ns
        found = _outputs_by_input(path.parent, modified).get(path.stem, [])
    return [(name, name.read_text(errors="replace")) for name in found]


@functools.lru_cache(maxsize=8)
def _outputs_by_input(folder: Path, modified: int) -> dict[str, list[Path]]:
    """The outputs of ORCA in a folder by the name of their input without its ending.

    Args:
        folder: the folder, which may hold very many jobs.
        modified: when it was, in ns.
    """
    found: dict[str, list[Path]] = {}
    for name in sorted(folder.iterdir()):
        if name.is_file() and _is_output(name):
            given = re.search(r"^NAME = (?:\S*/)?(\S+)\.", _head(name), re.MULTILINE)
            if given:
                found.setdefault(given[1], []).append(name)
    return found


def _is_output(path: Path) -> bool:
    return bool(_OUTPUT.search(_head(path)))


def _head(path: Path) -> str:
    with open(path, errors="replace") as file:
        return file.read(20000)


def _read_output(path: Path, text: str, numbers: np.ndarray, positions: np.ndarray) -> _Output:
    """What an output says of the geometry of the Hessian.

    Raises:
        InputError: if it does not end with that geometry.
    """
    state = _state(text)
    if "ORCA NUMERICAL FREQUENCIES" in text:
        # the last energy and gradient may be those of a displaced geometry
        tables = [_table(table) for table in _TABLE.findall(text)]
        if not any(_rotation(table, numbers, positions) is not None for table in tables):
            raise InputError(f"{path} has not the geometry of the .hess file beside it")
        return _Output(path, _undisplaced_energy(text), None, *state)
    from ase.io import read

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of optimisations that did not converge
            atoms: Any = read(path, index=-1, format="orca-output")
    except Exception as error:  # whatever a truncated file leads to
        raise InputError(f"{path}: ASE cannot read this ({reason_of(error)})") from error
    rotation = _rotation((atoms.numbers, atoms.positions), numbers, positions)
    if rotation is None:
        raise InputError(f"{path} ends with another geometry than the .hess file beside it")
    energy, forces = (atoms.calc.results.get(name) for name in ("energy", "forces"))
    return _Output(path, energy, None if forces is None else forces @ rotation, *state)


def _rotation(
    table: tuple[np.ndarray, np.ndarray], numbers: np.ndarray, positions: np.ndarray
) -> np.ndarray | None:
    same = np.array_equal(table[0], numbers)
    return rotation_between(table[1], positions) if same else None


def _table(text: str) -> tuple[np.ndarray, np.ndarray]:
    rows = [line.split() for line in text.splitlines() if len(line.split()) == 4]
    numbers = np.array([atomic_numbers.get(row[0].capitalize(), 0) for row in rows])
    return numbers, np.array([row[1:] for row in rows], dtype=float)


def _undisplaced_energy(text: str) -> float | None:
    """The energy (eV) of thermochemistry, in the digits in which it was printed before."""
    stated = _THERMOCHEMISTRY.findall(text)
    if not stated:
        return None
    energies = [float(energy) for energy in _ENERGY.findall(text)]
    same = [energy for energy in energies if abs(energy - float(stated[-1])) < _SAME_ENERGY]
    return same[0] * units.Hartree if same else None


def _state(text: str) -> tuple[int | None, int | None]:
    """Charge and multiplicity, None where none or several are stated."""
    charges, spins = set(_CHARGE.findall(text)), set(_MULTIPLICITY.findall(text))
    if not charges and not spins:
        charges = {charge for charge, _ in _INPUT.findall(text)}
        spins = {spin for _, spin in _INPUT.findall(text)}
    return (
        int(charges.pop()) if len(charges) == 1 else None,
        int(spins.pop()) if len(spins) == 1 else None,
    )


def _matrix(block: str) -> np.ndarray:
    """A matrix in groups of columns, each under a line with their numbers."""
    first, *lines = block.strip().splitlines()
    size = int(first)
    groups = [lines[start + 1 : start + 1 + size] for start in range(0, len(lines), size + 1)]
    return np.hstack([[[float(x) for x in line.split()[1:]] for line in g] for g in groups])
