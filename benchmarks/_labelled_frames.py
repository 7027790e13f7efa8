"""Frames that are labelled here, and files of them; needs ASE alone."""

from __future__ import annotations

import os
from pathlib import Path

import ase
import ase.io
from ase.calculators.calculator import Calculator


def labelled(atoms: ase.Atoms, calculator: Calculator) -> ase.Atoms:
    """A copy with energy and forces."""
    found = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    found.calc = calculator
    found.info["REF_energy"] = found.get_potential_energy()
    found.arrays["REF_forces"] = found.get_forces()
    found.calc = None
    return found


def write(path: Path, frames: list[ase.Atoms]) -> None:
    """Write a file when it is whole."""
    unfinished = path.with_suffix(".unfinished")
    ase.io.write(unfinished, frames, format="extxyz")
    os.replace(unfinished, path)
