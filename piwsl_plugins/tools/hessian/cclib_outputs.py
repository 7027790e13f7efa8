"""Outputs of quantum chemistry programs whose Hessians cclib reads."""

from __future__ import annotations

import importlib.util
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from ase.data import chemical_symbols

from ...errors import InputError, reason_of
from .advice import advice_for, remedy_for
from .fitting import fitted
from .frequency_jobs import FrequencyJob, from_lower_triangle
from .molpro import placed
from .rigid_motions import rotation_between

#: energies (eV) that differ by less are the same
_SAME_ENERGY = 1e-5


def read_with_cclib(path: Path, text: str) -> FrequencyJob:
    """The frequency job of an output that cclib reads.

    Args:
        path: the output.
        text: what it holds.

    Raises:
        InputError: without cclib, for a file that it does not read or that has no Hessian, and
            where several geometries could be that of the Hessian.
    """
    data, program = _parsed(path, text)
    numbers, geometries = np.asarray(data.atomnos), np.asarray(data.atomcoords)
    at = _at_hessian(path, geometries, numbers, text, program)
    energy, forces = _energy_and_forces(data, at, program == "QChem")
    if energy is None and program == "QChem":
        energy = _qchem_energy(text)
    same = [rotation_between(geometry, geometries[at]) is not None for geometry in geometries]
    charge, multiplicity = _state(data, text, program)
    job = FrequencyJob(
        numbers,
        np.concatenate([geometries[:at][same[:at]], geometries[at : at + 1]]),
        _square(np.asarray(data.hessian), 3 * len(numbers)) * units.Hartree / units.Bohr**2,
        energy,
        forces,
        _of_size(data, "atommasses", len(numbers)),
        np.asarray(data.vibfreqs) if hasattr(data, "vibfreqs") else None,
        charge,
        multiplicity,
    )
    try:
        job = placed(job, text) if program == "Molpro" else job
        if len(numbers) > 1:
            fitted(job)
    except ValueError as error:
        raise InputError(
            f"{path}: what cclib reads of this output is no Hessian of its geometry: {error}; "
            + (remedy_for(text) or "give the output of a job of frequencies alone")
        ) from error
    return job


def _parsed(path: Path, text: str) -> tuple[Any, str]:
    """What cclib reads from a file, and the name of its parser.

    Raises:
        InputError: without cclib, and for a file that it does not read or that has no Hessian.
    """
    if importlib.util.find_spec("cclib") is None:
        raise InputError(f"--from_output reads {path} through cclib: pip install cclib")
    from cclib.io import ccopen  # type: ignore[attr-defined]

    logging.getLogger("cclib").setLevel(logging.CRITICAL)
    try:
        reader = ccopen(str(path), loglevel=logging.CRITICAL)
        if reader is None:
            raise ValueError("of no program that it knows")
        data = reader.parse()
    except Exception as error:  # whatever a truncated, newer or foreign file leads to
        advice = advice_for(text)
        if advice is not None:
            raise InputError(f"{path}: {advice}") from error
        raise InputError(f"{path}: cclib cannot read this ({reason_of(error)})") from error
    if not all(hasattr(data, name) for name in ("atomnos", "atomcoords", "hessian")):
        program = data.metadata.get("package", type(reader).__name__)
        raise InputError(
            f"{path}: "
            + (
                advice_for(text)
                or f"cclib finds no Hessian in this file of {program}; let the program print it"
            )
        )
    return data, type(reader).__name__


def _at_hessian(
    path: Path, geometries: np.ndarray, numbers: np.ndarray, text: str, program: str
) -> int:
    """Which geometry is that of the Hessian.

    Q-Chem computes a Hessian at the geometry that it printed last. Of other programs cclib does
    not tell, so that there must be one.

    Raises:
        InputError: if there are several.
    """
    if program == "QChem":
        title = r"Hessian of the SCF Energy|Final Hessian\."
        header = list(re.finditer(title, text))[-1].start()
        table = re.compile(r"Standard Nuclear Orientation")
        if len(table.findall(text)) == len(geometries):
            return len(table.findall(text[:header])) - 1
    for number, geometry in enumerate(geometries):
        if rotation_between(geometry, geometries[-1]) is None:
            raise InputError(
                f"{path}: holds {len(geometries)} geometries, and cclib does not tell at which of "
                f"them the Hessian was made: {_difference(numbers, geometries, number)}; give the "
                "output of a job of frequencies alone"
            )
    return len(geometries) - 1


def _difference(numbers: np.ndarray, geometries: np.ndarray, number: int) -> str:
    """The distance in which a geometry and the last one differ most, in words."""
    first, last = (
        np.linalg.norm(geometry[:, None] - geometry, axis=2)
        for geometry in (geometries[number], geometries[-1])
    )
    i, j = np.unravel_index(np.abs(first - last).argmax(), first.shape)
    pair = f"{chemical_symbols[numbers[i]]}{i + 1}–{chemical_symbols[numbers[j]]}{j + 1}"
    return (
        f"{pair} is {first[i, j]:.4f} Å in geometry {number + 1} and {last[i, j]:.4f} Å in "
        f"geometry {len(geometries)}"
    )


def _energy_and_forces(
    data: Any, at: int, in_order: bool
) -> tuple[float | None, np.ndarray | None]:
    """Energy (eV) and forces (eV/Å, with cclib's sign turned) of one of the geometries.

    Either is None where it cannot be told which of several belongs to that geometry, and the
    energy of jobs on excited states is.

    Args:
        data: what cclib has read.
        at: number of the geometry.
        in_order: whether energies may differ, being those of the geometries one by one.
    """
    shape = np.shape(data.atomcoords)
    energy = forces = None
    levels = ("ccenergies", "mpenergies", "scfenergies")
    values = next((getattr(data, name) for name in levels if hasattr(data, name)), ())
    if len(values) == shape[0] and not hasattr(data, "etenergies"):
        energies = np.array([np.ravel(value)[-1] for value in values], float) * _energy_unit()
        if in_order or np.ptp(energies) < _SAME_ENERGY:
            energy = float(energies[at])
    gradients = getattr(data, "grads", None)
    if gradients is not None and np.size(gradients) == np.prod(shape):
        forces = -np.reshape(gradients, shape)[at] * units.Hartree / units.Bohr
    if forces is not None and not np.isfinite(forces).all():
        forces = None
    return energy, forces


def _qchem_energy(text: str) -> float | None:
    """The energy (eV) between the geometry of a Hessian of the SCF energy and that Hessian."""
    before, title, _ = text.rpartition("Hessian of the SCF Energy")
    section = before.rpartition("Standard Nuclear Orientation")[2] if title else ""
    stated = r"Total energy(?: in the final basis set)? += +(-?\d+\.\d+)"
    energies = {float(energy) * units.Hartree for energy in re.findall(stated, section)}
    return energies.pop() if len(energies) == 1 else None


def _state(data: Any, text: str, program: str) -> tuple[int | None, int | None]:
    """Charge and multiplicity as the program states them, None where it does not.

    From Q-Chem, cclib counts electrons, and forgets those of effective core potentials.
    """
    charge, multiplicity = getattr(data, "charge", None), getattr(data, "mult", None)
    if program == "QChem":
        header = list(re.finditer(r"Hessian of the SCF Energy|Final Hessian\.", text))[-1].start()
        block = r"^ *\$molecule *\n\s*(-?\d+)[ ,]+(\d+) *$"
        stated = re.findall(block, text[:header], re.MULTILINE | re.IGNORECASE)
        return (int(stated[-1][0]), int(stated[-1][1])) if stated else (None, None)
    if charge is None or multiplicity is None:
        return charge, multiplicity
    # an even number of electrons, also without those of the cores, has an odd multiplicity
    even = (int(np.sum(data.atomnos)) - int(charge)) % 2 == 0
    return (int(charge), int(multiplicity)) if even == (multiplicity % 2 == 1) else (None, None)


def _energy_unit() -> float:
    """cclib's unit of energies in eV: its own eV before version 2, then the hartree."""
    import cclib
    from cclib.parser.utils import convertor

    if int(cclib.__version__.partition(".")[0]) >= 2:  # type: ignore[attr-defined]
        return units.Hartree
    return units.Hartree / convertor(1.0, "hartree", "eV")


def _square(hessian: np.ndarray, size: int) -> np.ndarray:
    """A Hessian as matrix, which some parsers of cclib leave flat or as lower triangle."""
    if hessian.size == size * (size + 1) // 2:
        return from_lower_triangle(hessian.ravel(), size)
    return hessian.reshape(size, size) if hessian.size == size**2 else hessian


def _of_size(data: Any, name: str, size: int) -> np.ndarray | None:
    values = np.asarray(getattr(data, name, ()), dtype=float)
    return values if values.shape == (size,) else None
