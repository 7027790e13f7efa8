"""GAMESS's punch file (``.dat``) and inputs that hold ``$HESS``, in hartree/bohr²."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from ase import units

from ...errors import InputError
from .frequency_jobs import FrequencyJob
from .rigid_motions import rotation_between
from .stated_charges import state_beside

_HESS = re.compile(r"^ \$HESS *\n(.*?)\n *\$END", re.MULTILINE | re.DOTALL | re.IGNORECASE)
_GRAD = re.compile(r"^ \$GRAD *\n(.*?)\n *\$END", re.MULTILINE | re.DOTALL | re.IGNORECASE)
#: what states a geometry: $DATA without symmetry, and tables of coordinates
_STATED = re.compile(
    r"^ \$DATA *\n[^\n]*\n *C1 *\n(?P<data>.*?)\n *\$END"
    r"|COORDINATES \(BOHR\)[^\n]*\n(?P<bohr>.*?)\n *(?:\n|\$|-{10})"
    r"|\(ANGS\)[^\n]*\n(?P<table>.*?)\n *(?:\n|\$|-{3} )",
    re.MULTILINE | re.DOTALL | re.IGNORECASE,
)
_PLACE = re.compile(
    r"^ *\S+ +(\d+\.?\d*) +(-?\d+\.\d+) +(-?\d+\.\d+) +(-?\d+\.\d+) *$", re.MULTILINE
)
_OUTPUTS = (".log", ".out", ".gamout", ".gms")


def is_punch(text: str) -> bool:
    """Whether this holds a group ``$HESS``."""
    return bool(_HESS.search(text))


def read_punch(path: Path, text: str) -> FrequencyJob:
    """The job of the last ``$HESS`` of a file.

    The geometry is the last one that the file states before, else that of the output beside the
    file.

    Raises:
        InputError: for a file that is cut off, an estimate of an optimisation, and without
            geometry.
    """
    groups = [
        group
        for group in _HESS.finditer(text)
        if "APPROXIMATE HESSIAN" not in text[: group.start()].rstrip().rsplit("\n", 1)[-1]
    ]
    if not groups:
        raise InputError(
            f"{path}: its $HESS is the estimate of an optimisation; give the .dat file of a job "
            "with RUNTYP=HESSIAN"
        )
    before, body = text[: groups[-1].start()], groups[-1][1]
    elements = _elements(body)
    size = round(len(elements) ** 0.5)
    if size**2 != len(elements) or size % 3 or size == 0:
        raise InputError(f"{path}: its $HESS is cut off or damaged ({len(elements)} numbers)")
    hessian = elements.reshape(size, size)
    numbers, positions, source = _geometry(path, before, size // 3)
    energy = re.search(r"ENERGY IS +(-?\d+\.\d+)", body)
    from ase import Atoms

    charge, multiplicity = state_beside(path, Atoms(numbers, positions), path)
    stated = re.search(r"ICHARG *= *(-?\d+)", text, re.IGNORECASE)
    charge = int(stated[1]) if stated else charge
    stated = re.search(r"\bMULT *= *(\d+)", text, re.IGNORECASE)
    multiplicity = int(stated[1]) if stated else multiplicity
    return FrequencyJob(
        numbers,
        positions[None],
        hessian * units.Hartree / units.Bohr**2,
        None if energy is None else float(energy[1]) * units.Hartree,
        _forces(before, len(numbers)),
        charge=charge,
        multiplicity=multiplicity,
        source=None if source == path.name else source,
    )


def _elements(body: str) -> np.ndarray:
    """Numbers of lines of two integers of 2 and 3 characters and up to five values of 15."""
    values: list[str] = []
    for line in body.splitlines():
        if re.match(r"^[ \d]\d[ \d]{2}\d.*[EeDd][-+]\d", line):
            values += [line[start : start + 15] for start in range(5, len(line.rstrip()), 15)]
    return np.array([float(value.upper().replace("D", "E")) for value in values])


def _geometry(path: Path, before: str, n_atoms: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Atomic numbers, ``(n_atoms, 3)`` in Å, and where they are from.

    Raises:
        InputError: if there are none, or the output beside has several.
    """
    stated = _geometries(before, n_atoms)
    if stated:
        return *stated[-1], path.name
    found = []
    for output in [path.with_suffix(ending) for ending in _OUTPUTS]:
        if output.is_file() and output != path:
            text = output.read_text(errors="replace")
            found += [(*geometry, output.name) for geometry in _geometries(text, n_atoms)]
    if not found:
        raise InputError(
            f"{path}: its $HESS is without a geometry of {n_atoms} atoms: $DATA is missing or has "
            "symmetry; put the output of the job beside it, of the same name with .log or .out"
        )
    for number, other in enumerate(found):
        if rotation_between(found[-1][1], other[1]) is None:
            raise InputError(
                f"{path}: geometries {number + 1} and {len(found)} of {found[-1][2]} beside it "
                "differ, and nothing tells which is that of $HESS; give the files of a job of the "
                "Hessian alone (RUNTYP=HESSIAN)"
            )
    return found[-1]


def _geometries(text: str, n_atoms: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Those that a text states of so many atoms, in its order; ``(n_atoms, 3)`` in Å."""
    in_bohr = re.search(r"UNITS *= *BOHR", text, re.IGNORECASE)
    found = []
    for match in _STATED.finditer(text):
        numbers, positions = _table(match["data"] or match["bohr"] or match["table"] or "")
        if match["bohr"] or (match["data"] and in_bohr):
            positions = positions * units.Bohr
        if len(numbers) == n_atoms:
            found.append((numbers, positions))
    return found


def _table(text: str) -> tuple[np.ndarray, np.ndarray]:
    rows = np.array(_PLACE.findall(text), dtype=float).reshape(-1, 4)
    return np.round(rows[:, 0]).astype(int), rows[:, 1:]


def _forces(text: str, n_atoms: int) -> np.ndarray | None:
    """Forces (eV/Å) of the last ``$GRAD``, which has a gradient in hartree/bohr."""
    groups = _GRAD.findall(text)
    rows = re.findall(
        r"^ *[A-Za-z]\S* +\d+\.\d* +(\S+) +(\S+) +(\S+) *$", groups[-1] if groups else "", re.M
    )
    if len(rows) != n_atoms:
        return None
    gradient = np.array([[float(x.upper().replace("D", "E")) for x in row] for row in rows])
    return -gradient * units.Hartree / units.Bohr
