"""CP2K's vibrational analysis: the Hessian that its output prints."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import units

from ...labels.hessian_labels import HessianLabel
from .conversion import label_of
from .frequencies import disagreement
from .phonopy_files import text_of

if TYPE_CHECKING:
    from ase import Atoms

#: 10⁻⁶ hartree/(bohr² mₑ), in which it is printed, divided by the masses, in eV/(Å² u)
_PRINTED = 1e-6 * units.Hartree / units.Bohr**2 * units._amu / units._me


def read_cp2k_output(path: Path) -> tuple[HessianLabel, Atoms]:
    """Label and structure of an output of RUN_TYPE VIBRATIONAL_ANALYSIS.

    Raises:
        ValueError: without a Hessian, and where the frequencies in the file are others.
    """
    text = text_of(path)
    start = text.find("VIB| Hessian in cartesian coordinates")
    if start < 0:
        raise ValueError(
            "this output of CP2K has no Hessian: run VIBRATIONAL_ANALYSIS with PRINT_LEVEL MEDIUM, "
            "or displaced supercells through phonopy (--from_phonopy)"
        )
    atoms, masses = _structure(text)
    size = 3 * len(atoms)
    row = r"^ +(\d+) +[A-Z]\S* +((?: *-?\d+\.\d+)+) *$"
    rows = re.findall(row, text[start:], re.MULTILINE)
    # groups of five columns of all rows
    groups = [rows[first : first + size] for first in range(0, len(rows), size)]
    groups = groups[: -(-size // 5)]
    if not rows or [int(number) for number, _ in groups[-1]] != list(range(1, size + 1)):
        raise ValueError(
            f"its Hessian is not that of {len(atoms)} atoms; with fixed atoms or an unfinished run "
            "it is not read"
        )
    # wide ones leave no space before a sign
    numbers = [[re.findall(r"-?\d+\.\d+", line) for _, line in group] for group in groups]
    weighted = np.hstack([np.array(group, dtype=float) for group in numbers]) * _PRINTED
    root = np.repeat(np.sqrt(masses), 3)
    label = label_of(atoms, weighted * np.outer(root, root))
    given = re.findall(r"^ *VIB\| *Frequency \(cm\^-1\) +(.*)$", text, re.MULTILINE)
    printed = np.array([word for line in given for word in line.split()], dtype=float)
    # without translations and rotations, which may be left out of what is printed
    if len(printed) >= size - 6:
        printed = np.concatenate([printed, np.zeros(6)])
    problem = disagreement(label, printed, [masses])
    if problem is not None:
        raise ValueError(problem)
    return label, atoms


def _structure(text: str) -> tuple[Atoms, np.ndarray]:
    """The structure of the run, and its masses in u."""
    from ase import Atoms

    number = r"-?\d+\.\d+"
    row = r"^ +\d+ +\d+ +[A-Z]\S* +(\d+)" + rf" +({number})" * 3 + rf" +{number} +({number}) *$"
    head = re.search(r"ATOMIC COORDINATES IN ANGSTROM", text, re.IGNORECASE)
    if head is None:
        raise ValueError("this output of CP2K prints no atomic coordinates")
    block = re.split(r"\n[^\n]*(?:SCF PARAMETERS|MODULE|VIB\|)", text[head.end() :])[0]
    atoms = re.findall(row, block, re.MULTILINE)
    axis = rf"CELL\| Vector [abc] \[angstrom\]:? +({number}) +({number}) +({number})"
    cell = np.array(re.findall(axis, text[: head.start()])[-3:], dtype=float)
    periodic = re.findall(r"CELL\| Periodicity +(\S+)", text)
    pbc = [name in (periodic[-1] if periodic else "XYZ").upper() for name in "XYZ"]
    numbers = np.array([atom[0] for atom in atoms], dtype=int)
    values = np.array([atom[1:] for atom in atoms], dtype=float)
    if periodic and periodic[-1].upper() == "NONE":
        pbc = [False, False, False]
    return Atoms(numbers, values[:, :3], cell=cell, pbc=pbc), values[:, 3]
