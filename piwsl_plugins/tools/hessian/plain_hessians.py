"""Files of force constants alone (xTB, Turbomole, DFTB+, NWChem, Psi4, CFOUR).

They are in hartree/bohr² and do not hold their geometry: it is named by the user, or found under
the name that the program gives it beside the file, and the Hessian is checked against it.
"""

from __future__ import annotations

import dataclasses
import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units

from ...errors import InputError, reason_of
from .fitting import fitted
from .frequency_jobs import FrequencyJob, from_lower_triangle
from .rigid_motions import rotation_between
from .stated_charges import state_beside

_REAL = re.compile(r"[-+]?\d*\.\d+(?:[EeDd][-+]?\d+)?|[-+]?\d+\.(?:[EeDd][-+]?\d+)?")
#: the group of xTB's and Turbomole's files, of which Turbomole's also holds others
_GROUP = re.compile(r"^ *\$(?:npr)?hessian\b[^\n]*\n(.*?)(?=^ *\$|\Z)", re.MULTILINE | re.DOTALL)
#: CFOUR's and Psi4's: the number of atoms, another number, and three columns
_COUNTED = re.compile(r"\A\s*(\d+)[ \t]+(\d+)[ \t]*\n")
#: written by xTB with the Hessian, where xtbopt.xyz may be of a run before
_CERTAIN = "g98.out"
#: where the programs write the geometry; {} is the name of the Hessian without its ending
_BESIDE = (
    *(_CERTAIN, "xtbopt.*", "coord", "geo_end.gen", "geo_end.xyz", "geom.gen", "geometry.gen"),
    *("{}.xyz", "*.nwo", "*.nwout", "*.out", "*.log"),
)
_NWCHEM = "Northwest Computational Chemistry"
#: of which the last structure is not always that of the Hessian
_TRAJECTORIES = ("xtbopt.log", "xtbopt.trj")


@dataclasses.dataclass(frozen=True)
class _Geometry:
    """A structure that may be that of a Hessian, its energy in eV if known, and its file."""

    atoms: Atoms
    source: Path
    energy: float | None = None
    forces: np.ndarray | None = None


def is_plain(text: str) -> bool:
    """Whether a file holds force constants and nothing else."""
    group = _GROUP.search(text)
    if group is not None:
        return bool(_REAL.search(group[1]))  # Turbomole's control may name another file
    body = _COUNTED.sub("", text)
    words = body.split(None, 2000)[:2000]
    return bool(words) and all(_REAL.fullmatch(word) for word in words)


def read_plain(path: Path, text: str, geometry: Path | None) -> FrequencyJob:
    """The job of a file of force constants.

    Args:
        path: its name; files beside it are looked at.
        text: what it holds.
        geometry: the file of its structure; None to look beside it.

    Raises:
        InputError: if there is no geometry that fits, or there are several.
    """
    elements = _elements(text)
    candidates = [_named(geometry)] if geometry is not None else list(_beside(path))
    sizes = [3 * len(candidate.atoms) for candidate in candidates]
    counts = [(size**2, size * (size + 1) // 2) for size in sizes]
    chosen = [c for c, count in zip(candidates, counts, strict=True) if elements.size in count]
    if not chosen:
        found = ", ".join(f"{c.source.name} with {len(c.atoms)} atoms" for c in candidates)
        raise InputError(
            f"{path}: {elements.size} force constants and no geometry; name the file of its "
            "structure with --geometry (xtbopt.xyz, coord, geo_end.gen, …)"
            + (f"; of another size: {found}" if found else "")
        )
    fitting, problems = [], []
    for candidate in chosen:
        job = _job(path, elements, candidate)
        try:
            fitted(job)
        except ValueError as error:
            problems.append(f"with the geometry of {candidate.source.name}: {error}")
        else:
            fitting.append(job)
    if not fitting:
        raise InputError(f"{path}: {problems[0]}")
    same = [
        rotation_between(job.geometries[-1], fitting[0].geometries[-1]) is not None
        for job in fitting
    ]
    for job, alike in zip(fitting, same, strict=True):
        if not alike and Path(fitting[0].source or "").name != _CERTAIN:
            raise InputError(
                f"{path}: the geometries of {fitting[0].source} and of {job.source} differ, and "
                "both may be that of the Hessian; name one with --geometry"
            )
    known = (job for job, alike in zip(fitting, same, strict=True) if alike and job.energy)
    return next(known, fitting[0])


def _elements(text: str) -> np.ndarray:
    group = _GROUP.search(text)
    body = group[1] if group else _COUNTED.sub("", text)
    return np.array([float(word.upper().replace("D", "E")) for word in _REAL.findall(body)])


def _job(path: Path, elements: np.ndarray, geometry: _Geometry) -> FrequencyJob:
    atoms = geometry.atoms
    size = 3 * len(atoms)
    square = elements.size == size**2
    hessian = elements.reshape(size, size) if square else from_lower_triangle(elements, size)
    charge, multiplicity = state_beside(path, atoms, geometry.source)
    spectrum = path.with_name("vibspectrum")
    return FrequencyJob(
        atoms.numbers,
        atoms.positions[None],
        hessian * units.Hartree / units.Bohr**2,
        geometry.energy,
        geometry.forces,
        frequencies=_spectrum(spectrum) if spectrum.is_file() else None,
        charge=charge,
        multiplicity=multiplicity,
        cell=atoms.cell.array if atoms.pbc.any() else None,
        source=str(geometry.source),
    )


def _spectrum(path: Path) -> np.ndarray | None:
    """Frequencies (cm⁻¹) of the file ``vibspectrum`` of xTB and Turbomole."""
    rows = re.findall(r"^ *\d+ +(?:[A-Za-z]\S* +)?(-?\d+\.\d+)", path.read_text(), re.MULTILINE)
    return np.array(rows, dtype=float) if rows else None


def _named(path: Path) -> _Geometry:
    """The structure of a file that the user named.

    Raises:
        InputError: if it cannot be read, or holds several.
    """
    if not path.is_file():
        raise InputError(f"--geometry={path}: there is no such file")
    try:
        frames = _frames(path)
    except Exception as error:  # whatever a file of another kind leads to
        raise InputError(f"--geometry={path}: ASE cannot read this ({reason_of(error)})") from error
    if len(frames) != 1:
        raise InputError(f"--geometry={path}: holds {len(frames)} structures, 1 is needed")
    return _Geometry(frames[0], path, _energy_in_comment(path))


def _beside(path: Path) -> Iterator[_Geometry]:
    """Structures of files beside, whichever can be read; of outputs, those of NWChem."""
    for name in _BESIDE:
        for found in sorted(path.parent.glob(name.format(glob.escape(path.stem)))):
            if found.samefile(path) or found.name in _TRAJECTORIES:
                continue
            if name.startswith("*") and (path.suffix != ".hess" or not _is_nwchem(found)):
                continue
            try:
                frames = _frames(found)
            except Exception:  # a file of another kind
                continue
            if not frames:
                continue
            atoms, energy, forces = frames[-1], _energy_in_comment(found), None
            gradient = found.with_name("gradient")
            if found.name == "coord" and gradient.is_file():
                energy, forces = _turbomole_gradient(gradient, atoms)
            yield _Geometry(atoms, found, energy, forces)


def _is_nwchem(path: Path) -> bool:
    with open(path, errors="replace") as file:
        return _NWCHEM in file.read(20000)


def _frames(path: Path) -> Sequence[Atoms]:
    from ase.io import read

    if path.name == _CERTAIN:
        return [_of_table(path.read_text(), r"Standard orientation:", 1.0)]
    text = path.read_text(errors="replace")
    if _NWCHEM in text:
        return [_of_nwchem(text)]
    kinds = {"coord": "turbomole", ".coord": "turbomole", ".tmol": "turbomole", ".gen": "gen"}
    kind = kinds.get(path.name, kinds.get(path.suffix))
    frames = read(path, index=":", format=kind, do_not_split_by_at_sign=True)
    return frames if isinstance(frames, list) else [frames]


def _of_table(text: str, title: str, unit: float) -> Atoms:
    """The last table in Gaussian's form: number, element, type, position."""
    after = re.split(title, text)[-1]
    rows = re.findall(r"^ *\d+ +(\d+) +\d+ +(\S+) +(\S+) +(\S+) *$", after, re.MULTILINE)
    table = np.array(rows, dtype=float)
    return Atoms(table[:, 0].astype(int), table[:, 1:] * unit)


def _of_nwchem(text: str) -> Atoms:
    """The structure that NWChem prints with the masses of a vibrational analysis, in bohr."""
    after = text.split("Atom information")[1].split("\n", 3)[3]
    symbols, positions = [], []
    for line in after.splitlines():
        row = re.match(r" *([A-Za-z]+)\S* +\d+ +(\S+) +(\S+) +(\S+) +\S+ *$", line)
        if row is None:
            break
        symbols.append(row[1].capitalize())
        positions.append([float(x.upper().replace("D", "E")) for x in row.groups()[1:]])
    return Atoms(symbols, np.array(positions) * units.Bohr)


def _energy_in_comment(path: Path) -> float | None:
    """Energy (eV) that xTB writes into the second line of xtbopt.xyz."""
    if path.suffix != ".xyz":
        return None
    with open(path, errors="replace") as file:
        comment = [file.readline(), file.readline()][1]
    found = re.match(r" *energy: +(-?\d+\.\d+) +gnorm: .*xtb:", comment)
    return None if found is None else float(found[1]) * units.Hartree


def _turbomole_gradient(path: Path, atoms: Atoms) -> tuple[float | None, np.ndarray | None]:
    """Energy (eV) and forces (eV/Å) of the file ``gradient``, if they are of this geometry."""
    from ase.io import read

    try:
        last: Any = read(path, index=-1, format="turbomole-gradient")
    except Exception:  # whatever an unfinished file leads to
        return None, None
    if len(last) != len(atoms) or np.abs(last.positions - atoms.positions).max() > 1e-5:
        return None, None
    return float(last.get_potential_energy()), last.get_forces()
