"""Charge and multiplicity of jobs whose Hessian stands in a file without them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from .turbomole import state_of_control

if TYPE_CHECKING:
    from ase import Atoms

#: an output larger than this is not of a job of these programs
_LARGEST = 2**26
#: in which files a program is recognised, and how it states charge and multiplicity
_STATEMENTS = (
    (r"x T B", r"^ *:? *net charge +(-?\d+)", r"^ *:? *unpaired electrons +(\d+)", 1),
    (
        r"Northwest Computational Chemistry",
        r"^ *Charge *: +(-?\d+) *$",
        r"^ *Spin multiplicity *: +(\d+)",
        0,
    ),
    (r"GAMESS", r"CHARGE OF MOLECULE +=\s+(-?\d+)", r"(?:SPIN|STATE) MULTIPLICITY +=\s+(\d+)", 0),
    (r"DFTB\+|dftb\+", r"^ *Total charge: +(-?\d+)\.0+ *$", r"(?!)", 0),
    (r"Psi4", r"charge = +(-?\d+), multiplicity = +\d+", r"multiplicity = +(\d+)", 0),
)


def state_beside(path: Path, atoms: Atoms, geometry: Path) -> tuple[int | None, int | None]:
    """What the files beside a Hessian state as charge and multiplicity; None where they do not.

    Structures that carry them, xTB's ``.CHRG`` and ``.UHF``, Turbomole's ``control`` and outputs
    are asked; where they
    contradict each other, none is right.

    Args:
        path: the file of the Hessian.
        atoms: its structure.
        geometry: the file that the structure is from.
    """
    charges = {atoms.info[name] for name in ("charge", "total_charge") if name in atoms.info}
    spins = {atoms.info[name] for name in ("spin", "total_spin") if name in atoms.info}
    charges |= _number(path.with_name(".CHRG"), 0)
    spins |= _number(path.with_name(".UHF"), 1)
    control = path.with_name("control")
    if path.name in ("hessian", "nprhessian") and control.is_file():
        charge, spin = state_of_control(control.read_text(errors="replace"))
        charges |= set() if charge is None else {charge}
        spins |= set() if spin is None else {spin}
    for text in _outputs(path, geometry):
        for program, net, unpaired, more in _STATEMENTS:
            if re.search(program, text[:20000]):
                charges |= {int(value) for value in re.findall(net, text, re.MULTILINE)}
                spins |= {int(value) + more for value in re.findall(unpaired, text, re.MULTILINE)}
    return _only(charges), _only(spins)


def _outputs(path: Path, geometry: Path) -> list[str]:
    """Outputs in the folder of xTB's and DFTB+'s files; of other programs, of the same name."""
    texts = []
    for found in sorted(path.parent.iterdir()):
        own = path.stem == "hessian" and found.suffix in (".out", ".log", "")
        own = own or found.stem == path.stem or found == geometry
        if found.is_file() and own and found != path and found.stat().st_size < _LARGEST:
            texts.append(found.read_text(errors="replace"))
    return texts


def _number(path: Path, more: int) -> set[int]:
    text = path.read_text().strip() if path.is_file() else ""
    return {int(text) + more} if re.fullmatch(r"-?\d+", text) else set()


def _only(values: set[int]) -> int | None:
    return int(next(iter(values))) if len(values) == 1 else None
