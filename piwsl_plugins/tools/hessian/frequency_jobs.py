"""Finished frequency jobs of quantum chemistry programs, read through cclib."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
from ase import units

from ..errors import InputError, reason_of

#: what to give instead of an output in which cclib finds no Hessian
_INSTEAD = {
    "Gaussian": "give the formatted checkpoint of the job (formchk job.chk job.fchk)",
    "ORCA": "give the .hess file of the job",
    "QChem": "give the .fchk file of the job (GUI 2)",
}


@dataclasses.dataclass(frozen=True)
class FrequencyJob:
    """What the files of one job hold.

    Attributes:
        numbers: ``(n_atoms,)``, atomic numbers.
        geometries: ``(n_geometries, n_atoms, 3)`` in Å, the last one that of the Hessian.
        hessian: ``(3 n_atoms, 3 n_atoms)`` in eV/Å², perhaps in the axes of another geometry.
        energy: in eV, or None if unknown.
        forces: ``(n_atoms, 3)`` in eV/Å in the axes of the last geometry, or None; programs
            differ in the sign, and so does cclib.
        masses: ``(n_atoms,)`` in u, or None.
        frequencies: in cm⁻¹, imaginary ones negative, or None.
        charge: in units of e, or None.
        multiplicity: 2S+1, or None.
    """

    numbers: np.ndarray
    geometries: np.ndarray
    hessian: np.ndarray
    energy: float | None = None
    forces: np.ndarray | None = None
    masses: np.ndarray | None = None
    frequencies: np.ndarray | None = None
    charge: int | None = None
    multiplicity: int | None = None


def read_job(path: Path) -> FrequencyJob:
    """The frequency job of an output, formatted checkpoint or whatever else cclib reads.

    Raises:
        InputError: without cclib, and for a file that it does not read or that has no Hessian.
    """
    data, program = _parsed(path)
    if not hasattr(data, "hessian"):
        remedy = _INSTEAD.get(program, "let the program print it")
        raise InputError(f"{path}: cclib finds no Hessian in this file of {program}; {remedy}")
    numbers, geometries = np.asarray(data.atomnos), np.asarray(data.atomcoords)
    energy, forces = _energy_and_forces(data)
    return FrequencyJob(
        numbers,
        geometries,
        _square(np.asarray(data.hessian), 3 * len(numbers)) * units.Hartree / units.Bohr**2,
        _total_energy(path) if program == "fchk" else energy,
        forces,
        _of_size(data, "atommasses", len(numbers)),
        np.asarray(data.vibfreqs) if hasattr(data, "vibfreqs") else None,
        getattr(data, "charge", None),
        getattr(data, "mult", None),
    )


def _parsed(path: Path) -> tuple[Any, str]:
    """What cclib reads from a file, and the name of the program.

    Raises:
        InputError: without cclib, and for a file that it does not read.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    if importlib.util.find_spec("cclib") is None:
        raise InputError(f"--from_output reads {path} through cclib: pip install cclib")
    from cclib.io import ccopen

    logging.getLogger("cclib").setLevel(logging.CRITICAL)
    try:
        reader = ccopen(str(path), loglevel=logging.CRITICAL)
        if reader is None:
            raise ValueError("of no program that it knows")
        data = reader.parse()
    except Exception as error:  # whatever a truncated or foreign file leads to
        raise InputError(f"{path}: cclib cannot read this ({reason_of(error)})") from error
    if not (hasattr(data, "atomnos") and hasattr(data, "atomcoords")):
        raise InputError(f"{path}: cclib finds no geometry in this file")
    if type(reader).__name__ == "FChk":
        return data, "fchk"
    return data, data.metadata.get("package", type(reader).__name__)


def _energy_and_forces(data: Any) -> tuple[float | None, np.ndarray | None]:
    """Energy (eV) and forces (eV/Å, with cclib's sign turned) of the last geometry.

    Either is None where it cannot be told which of several belongs to that geometry, and the
    energy of jobs on excited states is.

    Args:
        data: what cclib has read.
    """
    shape = np.shape(data.atomcoords)
    energy = forces = None
    levels = ("ccenergies", "mpenergies", "scfenergies")
    values = next((getattr(data, name) for name in levels if hasattr(data, name)), ())
    if len(values) == shape[0] and not hasattr(data, "etenergies"):
        energy = float(np.ravel(values[-1])[-1]) * _energy_unit()
    gradients = getattr(data, "grads", None)
    if gradients is not None and np.size(gradients) == np.prod(shape):
        forces = -np.reshape(gradients, shape)[-1] * units.Hartree / units.Bohr
    if forces is not None and not np.isfinite(forces).all():
        forces = None
    return energy, forces


def _energy_unit() -> float:
    """cclib's unit of energies in eV: its own eV before version 2, then the hartree."""
    import cclib
    from cclib.parser.utils import convertor

    if int(cclib.__version__.partition(".")[0]) >= 2:
        return units.Hartree
    return units.Hartree / convertor(1.0, "hartree", "eV")


def _total_energy(path: Path) -> float | None:
    """Energy in eV at the level of a formatted checkpoint; cclib reads that of the SCF alone."""
    text = path.read_text(errors="replace")
    found = re.search(r"^Total Energy\s+R\s+(\S+)", text, re.MULTILINE)
    return None if found is None else float(found[1]) * units.Hartree


def _square(hessian: np.ndarray, size: int) -> np.ndarray:
    """A Hessian as matrix, which some parsers of cclib leave flat or as lower triangle."""
    if hessian.size == size * (size + 1) // 2:
        matrix = np.zeros((size, size))
        matrix[np.tril_indices(size)] = hessian.ravel()
        return matrix + np.tril(matrix, -1).T
    return hessian.reshape(size, size) if hessian.size == size**2 else hessian


def _of_size(data: Any, name: str, size: int) -> np.ndarray | None:
    values = np.asarray(getattr(data, name, ()), dtype=float)
    return values if values.shape == (size,) else None
