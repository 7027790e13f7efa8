"""Gaussian's outputs: the archive entry at the end of a job, which holds all of a Hessian."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import units
from ase.data import atomic_numbers

from ..errors import InputError
from .frequency_jobs import FrequencyJob, from_lower_triangle
from .rigid_motions import rotation_between, rotational_residue

#: from ``1\1\GINC-host`` to ``\@``; Windows has bars for backslashes
_ENTRY = re.compile(r"^ ?1([\\|])1\1[A-Z]+-.*?\1@", re.MULTILINE | re.DOTALL)
_ATOM = re.compile(r"([^,]+),(?:(-?\d+),)?(-?\d*\.\d*),(-?\d*\.\d*),(-?\d*\.\d*)(?:,|$)")
_ORIENTATION = re.compile(
    r"(?:Input|Z-Matrix|Standard) orientation:[^\n]*\n *-+\n[^\n]*\n[^\n]*\n *-+\n(.*?)\n *---",
    re.DOTALL,
)
_FREQUENCIES = re.compile(r"^ +(\d+)[ \d]*\n[^\n]*\n Frequencies --(.*)$", re.MULTILINE)
_MASS = re.compile(r"^ Atom +\d+ has atomic number +\d+ and mass +(\S+)", re.MULTILINE)
_NUMBER = r"=\s*(-?\d+\.\d*)"
#: hartree; the sums of thermochemistry have six decimals
_SAME_ENERGY = 2e-6
#: parts of the route that change the energy surface beside method and basis
_SURFACE = ("scrf", "empiricaldispersion", "em=", "field", "external")


def is_gaussian(text: str) -> bool:
    """Whether this is an output of Gaussian, with or without an archive entry."""
    return "Entering Gaussian System" in text or "Gaussian, Inc." in text or bool(_entries(text))


@dataclasses.dataclass(frozen=True)
class _Archived:
    """A job of an archive entry.

    Attributes:
        job: what it holds.
        level: of theory, in words.
        composite: whether it sums up several levels (CBS-QB3, G4), one of which made the Hessian.
    """

    job: FrequencyJob
    level: str
    composite: bool


def read_gaussian(path: Path, text: str) -> list[FrequencyJob]:
    """The jobs of an output whose archive entries hold Hessians, in their order.

    Args:
        path: for messages.
        text: of the output; what precedes an entry holds its frequencies and masses.

    Raises:
        InputError: for an output without Hessian, with a damaged one, with Hessians of several
            levels of theory, or with two different ones of one geometry.
    """
    archived: list[_Archived] = []
    start = 0
    for entry in _entries(text):
        if "NImag" in "".join(_lines(entry)):
            try:
                found = _read_entry(entry, text[start : entry.start()])
                if found is not None:
                    archived.append(found)
            except (ValueError, KeyError, IndexError) as error:
                raise InputError(f"{path}: its archive entry cannot be read: {error}") from error
        start = entry.end()
    if not archived:
        raise InputError(
            f"{path}: this output of Gaussian has no archive entry with a Hessian at its end (from "
            "1\\1\\GINC to \\@, with NImag; did the frequency job finish?); give the formatted "
            "checkpoint of the job (formchk job.chk job.fchk)"
        )
    # the entry of a composite method repeats the Hessian of its frequency job
    archived = [found for found in archived if not found.composite] or archived
    _check_levels(path, archived)
    return _different(path, [found.job for found in archived])


def _entries(text: str) -> list[re.Match[str]]:
    return list(_ENTRY.finditer(text))


def _lines(entry: re.Match[str]) -> list[str]:
    """Lines of an entry, of which the first character is a blank."""
    return [line.removeprefix(" ") for line in entry[0].splitlines()]


def _read_entry(entry: re.Match[str], before: str) -> _Archived | None:
    """The job of an entry with a Hessian; None where that may be of another geometry.

    Optimisations that print no frequencies keep the Hessian of their first geometry.
    """
    separator = entry[1]
    parts = "".join(_lines(entry)).removesuffix(f"{separator}@").split(2 * separator)
    head = parts[0].split(separator)
    modes = _frequencies(before)
    if head[3].upper() not in ("FREQ", "MIXED") and modes is None:
        return None
    results = next(n for n, part in enumerate(parts) if re.search(r"NImag=\d+$", part))
    state, *atoms = next(
        part.split(separator)
        for part in parts[2:results]
        if re.fullmatch(r"-?\d+(,-?\d+)+", part.split(separator)[0]) and separator in part
    )
    charge, multiplicity = map(int, state.split(",")[:2])
    elements = _floats(parts[results + 1])
    gradient = _floats(parts[results + 2]) if len(parts) > results + 2 else np.array([])
    numbers, candidates = _geometries(atoms, before)
    size = 3 * len(numbers)
    hessian = from_lower_triangle(elements, size) * units.Hartree / units.Bohr**2
    forces = None
    if gradient.size == size:
        forces = -gradient.reshape(-1, 3) * units.Hartree / units.Bohr
    residues = [rotational_residue(hessian, positions, forces) for positions in candidates]
    masses = np.array([float(mass) for mass in _MASS.findall(before)[-len(numbers) :]])
    job = FrequencyJob(
        numbers,
        candidates[int(np.argmin(residues))][None],
        hessian,
        _energy(parts[results].split(separator), head[4], before),
        forces,
        masses if len(masses) == len(numbers) else None,
        modes,
        charge,
        multiplicity,
    )
    route = parts[1].lower().replace("=(", "=").split()
    surface = " ".join(sorted(word for word in route if word.startswith(_SURFACE)))
    composite = head[3] == "Mixed"
    job = dataclasses.replace(job, energy=None) if composite else job
    return _Archived(job, f"{head[4]}/{head[5]} {surface}".strip(), composite)


def _floats(text: str) -> np.ndarray:
    if "*" in text:
        raise ValueError("a number was too large for its field (****)")
    return np.array([float(word) for word in text.split(",") if word.strip(" \\|")])


def _geometries(entries: Sequence[str], before: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """Atomic numbers, and ``(n_atoms, 3)`` in Å; where a Z-matrix is given, of printed tables.

    Raises:
        ValueError: for atoms that are none, and if there is no geometry.
    """
    labels = [re.sub(r"\([^)]*\)", "", entry) for entry in entries if entry]
    symbols = [re.match(r"[A-Za-z]+|\d+", label) for label in labels]
    names = [symbol[0] for symbol in symbols if symbol]
    if "Tv" in names:
        raise ValueError("the structure is periodic, which Hessians of Gaussian are not read for")
    if any("Bq" in label.split(",")[0] for label in labels):
        raise ValueError("it has ghost atoms (Bq)")
    atoms = [_ATOM.match(label) for label in labels]
    if all(atoms):
        numbers = [int(name) if name.isdigit() else atomic_numbers[name] for name in names]
        positions = [[float(x) for x in atom.groups()[2:]] for atom in atoms if atom]
        if 0 in numbers:
            raise ValueError("it has dummy atoms (X)")
        return np.array(numbers), [np.array(positions)]
    tables = []
    for table in _ORIENTATION.findall(before):
        rows = np.array([[float(x) for x in row.split()] for row in table.splitlines()])
        tables.append(rows[rows[:, 1] > 0])
    if not tables:
        raise ValueError("it has a Z-matrix, and no table of the orientation precedes it")
    # the last geometry of the job, in each of its orientations
    last = [t for t in tables if rotation_between(t[:, -3:], tables[-1][:, -3:]) is not None]
    return last[-1][:, 1].astype(int), [table[:, -3:] for table in last]


def _energy(results: Sequence[str], method: str, before: str) -> float | None:
    """Energy in eV at the level of the Hessian; None if that cannot be told.

    An entry has the energies of all levels up to that of the job, and thermochemistry says
    which one is the job's.
    """
    found = re.findall(rf"^([^=]+){_NUMBER}$", "\n".join(results), re.MULTILINE)
    values = {name: float(value) for name, value in found}
    total = None
    if {"ETot", "Thermal"} <= values.keys():
        total = values["ETot"] - values["Thermal"]
    else:
        correction = re.findall(rf"Zero-point correction{_NUMBER}", before)
        energy = re.findall(rf"Sum of electronic and zero-point Energies{_NUMBER}", before)
        if correction and energy:
            total = float(energy[-1]) - float(correction[-1])
    if total is not None:
        nearest = min(values.values(), key=lambda value: abs(value - total))
        return nearest * units.Hartree if abs(nearest - total) < _SAME_ENERGY else None
    correlated = re.search(r"MP\d|CC|QCI|CI|B2|PLYP|TD|CAS|EOM|ONIOM|BD|G\d", method.upper())
    levels = [name for name in values if re.match(r"MP\d|CC|QCI|BD", name)]
    if correlated or levels or "HF" not in values:
        return None
    return values["HF"] * units.Hartree


def _frequencies(before: str) -> np.ndarray | None:
    """Those printed last, in cm⁻¹."""
    values: list[float] = []
    for block in _FREQUENCIES.finditer(before):
        if int(block[1]) == 1:
            values = []
        values += [float(word) for word in block[2].split()]
    return np.array(values) if values else None


def _check_levels(path: Path, archived: Sequence[_Archived]) -> None:
    levels = list(dict.fromkeys(found.level for found in archived))
    if len(levels) > 1:
        raise InputError(
            f"{path}: holds Hessians of several levels of theory ({levels[0]} and {levels[1]}); "
            "cut the output into one file for each, and convert those of one level"
        )


def _different(path: Path, jobs: Sequence[FrequencyJob]) -> list[FrequencyJob]:
    """The jobs, of repeated ones the last.

    Raises:
        InputError: for two Hessians of one geometry.
    """
    kept: list[FrequencyJob] = []
    for job in jobs:
        for other in kept:
            if not np.array_equal(job.numbers, other.numbers):
                continue
            rotation = rotation_between(other.geometries[-1], job.geometries[-1])
            if rotation is None:
                continue
            state = (job.charge, job.multiplicity)
            if state != (other.charge, other.multiplicity) or not _alike(job, other):
                raise InputError(
                    f"{path}: holds two different Hessians of one geometry, of charge and "
                    f"multiplicity {other.charge}, {other.multiplicity} with {other.energy} eV and "
                    f"{state[0]}, {state[1]} with {job.energy} eV; cut the output into one file "
                    "for each"
                )
            kept.remove(other)
            break
        kept.append(job)
    return kept


def _alike(job: FrequencyJob, other: FrequencyJob) -> bool:
    """Whether two Hessians of one geometry are the same, whatever their axes."""
    eigenvalues = [np.linalg.eigvalsh(each.hessian) for each in (job, other)]
    scale = np.abs(eigenvalues[0]).max()
    return bool(np.abs(eigenvalues[0] - eigenvalues[1]).max() < 1e-3 * scale)
