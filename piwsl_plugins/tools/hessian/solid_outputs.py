"""Outputs of programs for solids: which program wrote a file, its reader, or what to do instead."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import InputError, reason_of
from ...frames.identity import StructureIndex
from ...frames.reading import ENERGY, FORCES, structure_of
from ...labels.hessian_labels import HessianLabel
from .aims_hessian import is_hessian_of_aims, read_aims_hessian
from .castep_hessian import read_phonon
from .cp2k_hessian import read_cp2k_output
from .espresso_hessian import read_dynamical_matrix
from .phonopy_files import text_of
from .vasp_hessian import REMEDY, read_outcar, read_vasprun

if TYPE_CHECKING:
    from ase import Atoms

_Reader = Callable[[Path], tuple["HessianLabel", "Atoms"]]
#: how the head of a file tells its program, and the reader
_READERS: dict[str, _Reader] = {
    r"<modeling>": read_vasprun,
    r"\A\s*vasp\.\d": read_outcar,
    r"\ADynamical matrix file|Dynamical +Matrix in cartesian axes": read_dynamical_matrix,
    r"\A *BEGIN header\s+Number of ions": read_phonon,
    r"CP2K\| version": read_cp2k_output,
}
#: what to give instead of a file that its reader cannot read
_WHOLE: dict[_Reader, str] = {
    read_vasprun: REMEDY,
    read_outcar: REMEDY,
    read_dynamical_matrix: "give the dynamical matrix of Γ (fildyn) of a run that has ended",
    read_phonon: "give the .phonon file of a run that has ended",
    read_cp2k_output: "give the output of a run of VIBRATIONAL_ANALYSIS that has ended",
    read_aims_hessian: "give hessian.NAME.dat and masses.NAME.dat of its scripts for vibrations "
    "beside geometry.in, all of them whole",
}
_DISPLACED = (
    "give displaced supercells through phonopy (--from_phonopy), or displaced structures through "
    "ASE's Vibrations (--from_vibrations)"
)
#: how it tells a program whose file holds no Hessian, or one that is not read
_INSTEAD = {
    r"Program PHONON": "give the dynamical matrix of Γ that ph.x wrote (fildyn)",
    r"Program PWSCF": "give the dynamical matrix of Γ of a run of ph.x (fildyn), or displaced "
    "supercells through phonopy (--from_phonopy)",
    r"<Root>[\s\S]*GEOMETRY_INFO": "ph.x writes a text if the name in fildyn does not end in .xml",
    r"\| +CCC +AA +SSS +TTTTT": "give the .phonon file of the run (with phonon_fine_kpoint_list at "
    "0 0 0), or displaced supercells through phonopy (--from_phonopy)",
    r"Invoking FHI-aims": "give hessian.NAME.dat of its scripts for vibrations beside geometry.in, "
    "or displaced supercells through phonopy (--from_phonopy)",
    r"\A.HDF\r\n": "of VASP, vasprun.xml and OUTCAR are read",
    r"DERIVATIVE DATABASE": f"anaddb's force constants are not read; {_DISPLACED}",
    r"^\.Version +\S+ +of ABINIT": _DISPLACED,
    r"^Siesta Version\b|\* +WELCOME TO SIESTA +\*|\AForce constants matrix": _DISPLACED,
    r"\|__ \|  _\|___\|_____\||(?i:\A- of UlmGPAW)": _DISPLACED,
    r"(?i)\A\s*\[Molden Format\]": "give the file of the job itself that holds its Hessian",
}
#: what is read of a file to tell its program
_HEAD = 20_000


def read_solid_output(path: Path) -> tuple[HessianLabel, Atoms] | None:
    """Label and structure, with energy (eV) and forces (eV/Å) as far as the file has them.

    Returns:
        None for files of other programs.

    Raises:
        InputError: for a file of these programs without a Hessian, with what to do instead.
    """
    if not path.is_file():
        return None
    reader: _Reader | None = read_aims_hessian if is_hessian_of_aims(path) else _reader_of(path)
    if reader is None:
        return None
    try:
        label, atoms = reader(path)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # whatever a truncated file leads to
        raise InputError(
            f"{path}: this file cannot be read ({reason_of(error)}); did the run end? "
            + _WHOLE[reader]
        ) from error
    return label, _training_frame(atoms)


def _reader_of(path: Path) -> _Reader | None:
    try:
        head = text_of(path, _HEAD)
    except (OSError, EOFError):
        return None
    for sign, reader in _READERS.items():
        if re.search(sign, head):
            return reader
    for sign, remedy in _INSTEAD.items():
        if re.search(sign, head, re.MULTILINE):
            raise InputError(f"{path}: no Hessian is read from this file; {remedy}")
    return None


def _training_frame(atoms: Atoms) -> Atoms:
    """The structure with the labels of its calculator under our names."""
    from ase import Atoms

    frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    results = {} if atoms.calc is None else atoms.calc.results
    if results.get("energy") is not None:
        frame.info[ENERGY] = float(results["energy"])
    if results.get("forces") is not None:
        frame.arrays[FORCES] = np.asarray(results["forces"])
    return frame


def placed(
    targets: Sequence[Atoms], label: HessianLabel, frame: Atoms
) -> tuple[HessianLabel, Atoms]:
    """Label and structure at the target that is the same but for whole lattice vectors.

    Raises:
        ValueError: if there is none.
    """
    number = StructureIndex(map(structure_of, targets)).find(label.structure)
    if number is not None:
        moved = frame.copy()
        moved.positions = targets[number].positions
        return dataclasses.replace(label, positions=moved.positions), moved
    raise ValueError(
        "none of the given structures is this one, with the atoms in this order and in this cell"
    )
