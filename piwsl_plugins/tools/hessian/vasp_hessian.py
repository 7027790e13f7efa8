"""VASP's second derivatives (IBRION 5 to 8) from ``vasprun.xml`` and ``OUTCAR``."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from xml.etree import ElementTree

import numpy as np
from ase import units

from ...labels.hessian_labels import HessianLabel
from .conversion import label_of
from .frequencies import disagreement
from .phonopy_files import text_of

if TYPE_CHECKING:
    from ase import Atoms

#: VASP 6 writes eigenvalues of the Hessian in THz²; in eV/(Å² u)
_THZ2 = (2 * np.pi * 1e12) ** 2 * units._amu * 1e-20 / units._e
#: what to give instead of a file without a Hessian, or a truncated one
REMEDY = (
    "give the file of a run with IBRION = 5, 6, 7 or 8 that has ended (in OUTCAR with NWRITE of 2 "
    "or more), or displaced supercells through phonopy (--from_phonopy)"
)


def read_vasprun(path: Path) -> tuple[HessianLabel, Atoms]:
    """Label and structure of a ``vasprun.xml``; VASP gives −H/√(m m') of the atoms that move.

    Raises:
        ValueError: saying what is missing.
    """
    atoms, tree = _first_step(path, "vasp-xml"), ElementTree.fromstring(text_of(path))
    dynamics = next(tree.iter("dynmat"), None)
    rows = [] if dynamics is None else dynamics.findall("varray[@name='hessian']/v")
    if dynamics is None or not rows:
        raise ValueError(f"this run of VASP has no Hessian; {REMEDY}")
    hessian = np.array([(row.text or "").split() for row in rows], dtype=float)
    selective = tree.findall("structure[@name='initialpos']/varray[@name='selective']/v")
    moved = np.array([(row.text or "").split() for row in selective]) != "F"
    indices = np.arange(len(atoms)) if not selective else _whole_atoms(moved)
    kinds = tree.findall("atominfo/array[@name='atomtypes']/set/rc")
    masses = np.repeat(*zip(*((float(kind[2].text), int(kind[0].text)) for kind in kinds)))  # type: ignore
    root = np.repeat(np.sqrt(masses[indices]), 3)
    if hessian.shape != (len(root), len(root)):
        raise ValueError(
            f"its Hessian of shape {hessian.shape} does not belong to the {len(indices)} atoms "
            "that move; is the run unfinished?"
        )
    unit = dynamics.find("i[@name='unit']")
    factor = _THZ2 if unit is not None and (unit.text or "").strip() == "THz^2" else 1.0
    label = label_of(atoms, -factor * hessian * np.outer(root, root), indices)
    return label, atoms


def read_outcar(path: Path) -> tuple[HessianLabel, Atoms]:
    """Label and structure of an ``OUTCAR``, where VASP prints the changes of forces, −H.

    Raises:
        ValueError: saying what is missing, and where the frequencies in the file are others.
    """
    text = text_of(path)
    found = re.search(
        r"SECOND DERIVATIVES \(NOT SYMMETRIZED\)\s*\n *-+ *\n(.*)\n((?: *\d+[XYZ] .*\n)+)", text
    )
    if found is None:
        raise ValueError(f"this run of VASP has no Hessian; {REMEDY}")
    atoms = _first_step(path, "vasp-out")
    components = re.findall(r"(\d+)([XYZ])", found[1])
    moved = np.zeros((len(atoms), 3), dtype=bool)
    for number, axis in components:
        moved[int(number) - 1, "XYZ".index(axis)] = True
    indices = _whole_atoms(moved)
    rows = [line.split()[1:] for line in found[2].splitlines()]
    hessian = -np.array(rows, dtype=float)
    if hessian.shape != (len(components), len(components)):
        raise ValueError(f"its Hessian has {hessian.shape} numbers; is the run unfinished?")
    label = label_of(atoms, hessian, indices)
    problem = disagreement(label, _frequencies(text)[: len(hessian)], [_masses(text, len(atoms))])
    if problem is not None:
        raise ValueError(problem)
    return label, atoms


def _first_step(path: Path, form: str) -> Atoms:
    """The undisplaced structure with its energy and forces: the first of a run's steps."""
    from ase.io import read

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        atoms: Any = read(path, index=0, format=form)
    return cast("Atoms", atoms)


def _whole_atoms(moved: np.ndarray) -> np.ndarray:
    """The atoms of which all components move, ``(m,)``, of flags ``(n_atoms, 3)``."""
    partly = np.flatnonzero(moved.any(axis=1) & ~moved.all(axis=1))
    if len(partly):
        raise ValueError(
            f"atom {partly[0] + 1} moves in some components alone, and labels are of whole atoms: "
            "set its flags of selective dynamics to T T T or F F F"
        )
    return np.flatnonzero(moved.all(axis=1))


def _frequencies(text: str) -> np.ndarray:
    """In cm⁻¹, imaginary ones negative, in the order of the file."""
    found = re.findall(r"^ *\d+ f(/i)? *= .* ([\d.]+) cm-1", text, re.MULTILINE)
    return np.array([-float(value) if imaginary else float(value) for imaginary, value in found])


def _masses(text: str, n_atoms: int) -> np.ndarray:
    """Of all atoms, in u."""
    counts = re.search(r"ions per type = *(.*)", text)
    masses = [float(mass) for mass in re.findall(r"POMASS = *([\d.]+);", text)]
    numbers = [] if counts is None else [int(count) for count in counts[1].split()]
    repeated = np.repeat(masses[: len(numbers)], numbers)
    if len(repeated) != n_atoms:
        raise ValueError("the masses in its head do not belong to its atoms")
    return repeated
