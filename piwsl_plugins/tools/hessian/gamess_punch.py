"""GAMESS's punch file (``.dat``) and inputs that hold ``$HESS``, in hartree/bohr²."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from ase import units

from ..errors import InputError
from .frequency_jobs import FrequencyJob
from .rigid_motions import rotation_between
from .states import state_beside

_HESS = re.compile(r"^ \$HESS *\n(.*?)\n *\$END", re.MULTILINE | re.DOTALL | re.IGNORECASE)
_DATA = re.compile(r"^ \$DATA *\n(.*?)\n *\$END", re.MULTILINE | re.DOTALL | re.IGNORECASE)
_GRAD = re.compile(r"^ \$GRAD *\n(.*?)\n *\$END", re.MULTILINE | re.DOTALL | re.IGNORECASE)
_PLACE = re.compile(
    r"^ *\S+ +(\d+\.?\d*) +(-?\d+\.\d+) +(-?\d+\.\d+) +(-?\d+\.\d+) *$", re.MULTILINE
)
_OUTPUTS = (".log", ".out", ".gamout", ".gms")


def is_punch(text: str) -> bool:
    """Whether this holds a group ``$HESS``."""
    return bool(_HESS.search(text))


def read_punch(path: Path, text: str) -> FrequencyJob:
    """The job of the last ``$HESS`` of a file.

    The geometry is that of ``$DATA`` without symmetry (``C1``), else of the output beside the
    file, whose tables list all atoms.

    Raises:
        InputError: for a file that is cut off, and without geometry.
    """
    group = list(_HESS.finditer(text))[-1]
    numbers, positions, source = _geometry(path, text[: group.start()])
    size = 3 * len(numbers)
    try:
        hessian = _matrix(group[1], size)
    except ValueError as error:
        raise InputError(
            f"{path}: its $HESS is not that of the {len(numbers)} atoms of {source} ({error})"
        ) from error
    energy = re.search(r"ENERGY IS +(-?\d+\.\d+)", group[1])
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
        _forces(text, len(numbers)),
        charge=charge,
        multiplicity=multiplicity,
        source=None if source == path.name else source,
    )


def _matrix(body: str, size: int) -> np.ndarray:
    """Rows in lines of two numbers of 2 and 3 characters and up to five values of 15."""
    rows: list[float] = []
    for line in body.splitlines():
        if re.match(r"^[ \d]\d[ \d]{2}\d.*[EeDd][-+]\d", line):
            values = [line[start : start + 15] for start in range(5, len(line.rstrip()), 15)]
            rows += [float(value.upper().replace("D", "E")) for value in values]
    if len(rows) != size**2:
        raise ValueError(f"{len(rows)} values, {size**2} expected")
    return np.array(rows).reshape(size, size)


def _geometry(path: Path, before: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Atomic numbers, ``(n_atoms, 3)`` in Å, and where they are from.

    Raises:
        InputError: if there are none.
    """
    found: list[tuple[np.ndarray, np.ndarray, str]] = []
    for group in _DATA.findall(before)[-1:]:
        lines = group.splitlines()
        if len(lines) > 2 and lines[1].strip().upper() == "C1":
            unit = units.Bohr if re.search(r"UNITS *= *BOHR", before, re.IGNORECASE) else 1.0
            found.append((*_table(group), path.name))
            found[-1][1][:] *= unit
    for output in [path.with_suffix(ending) for ending in _OUTPUTS]:
        if not output.is_file() or output == path:
            continue
        text = output.read_text(errors="replace")
        for title, unit in ((r"COORDINATES \(BOHR\)", units.Bohr), (r"\(ANGS\)", 1.0)):
            tables = re.findall(rf"{title}[^\n]*\n(.*?)\n *\n", text, re.DOTALL)
            rows = [_table(table) for table in tables]
            found += [(n, p * unit, output.name) for n, p in rows if len(n)]
    if not found:
        raise InputError(
            f"{path}: its $HESS is without a geometry: $DATA is missing or has symmetry; put the "
            "output of the job beside it, of the same name with .log or .out"
        )
    first = found[0]
    for other in found[1:]:
        same = np.array_equal(first[0], other[0])
        if not same or rotation_between(first[1], other[1]) is None:
            raise InputError(
                f"{path}: {first[2]} and {other[2]} hold different geometries, and nothing tells "
                "which is that of $HESS; give the files of a job of the Hessian alone "
                "(RUNTYP=HESSIAN)"
            )
    return first


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
