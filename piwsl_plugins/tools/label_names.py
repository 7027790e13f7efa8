"""Under which other names a structure may hold a label that is missed."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..frames.reading import NO_FORCES, iterate_atoms

if TYPE_CHECKING:
    from ase import Atoms

#: numbers of a structure that are no energy
_NO_ENERGY = ("charge", "spin", "total_charge", "total_spin", "multiplicity", "free_energy")
#: charges of atoms by the names that MACE's training and calculator have for them
_ATOMIC_CHARGES = ("REF_charges", "Qs")


def candidates(atoms: Atoms, label: str) -> list[str]:
    """Names of numbers that have the shape of a label.

    Args:
        atoms: a structure as it was read, with its calculator.
        label: "energy", "forces", "stress" or "dipole".

    Returns:
        the names, those that contain the label's own first.
    """
    results = {} if atoms.calc is None else atoms.calc.results
    found = []
    for container in (atoms.info, atoms.arrays, results):
        for name, value in container.items():
            if name not in found and _fits(name, value, label, len(atoms)):
                found.append(name)
    return sorted(found, key=lambda name: label[:5] not in name.lower())


def say_candidates(path: Path, number: int, label: str, option: str) -> str:
    """What to do about a missing label, in words that follow "no such label".

    Args:
        path: the file.
        number: of the frame that lacks it, from 0.
        label: "energy", "forces" or "stress".
        option: that names the label.
    """
    names = candidates(_frame_of(path, number), label)
    if not names:
        return f"the frame has nothing of its kind under another name ({option} would name it)"
    held = " and ".join(f"'{name}'" for name in names[:3])
    return f"the frame has {held}: name the right key with {option} {names[0]}"


def unread_stress(path: Path, number: int, key: str) -> str:
    """A line on a stress or virial that a frame has under other names than ``key``, or ""."""
    names = candidates(_frame_of(path, number), "stress")
    if not names:
        return ""
    remedy = f"name it with --stress_key {names[0]}"
    if "stress" not in names[0].lower():
        remedy = "convert it: stress = −virial / volume (eV/Å³)"
    held = " and ".join(f"'{name}'" for name in names)
    return f"stress is not measured: no frame has '{key}', but {path} has {held}; {remedy}"


def unread_dipole(path: Path, number: int, key: str) -> str:
    """A line on a dipole that a frame has under other names than ``key``, or ""."""
    names = candidates(_frame_of(path, number), "dipole")
    if not names:
        return ""
    held = " and ".join(f"'{name}'" for name in names)
    return (
        f"dipole is not measured: no frame has '{key}', but {path} has {held}; if it is in e·Å, "
        f"name it with --dipole_key {names[0]}"
    )


def unread_charges(path: Path, number: int) -> str:
    """A line on charges of atoms, of which the dipole of a MACE model may need to be told, or "".

    EnergyDipolesMACE adds the dipole of the charges that the data has (mace-torch 0.3.16,
    modules/models.py).
    """
    arrays = _frame_of(path, number).arrays
    names = [name for name in _ATOMIC_CHARGES if name in arrays and np.any(arrays[name])]
    if not names:
        return ""
    return (
        f"{path} has charges of atoms, '{names[0]}', of which no model is told: dipoles of a MACE "
        "model that was trained with them lack their part"
    )


def _frame_of(path: Path, number: int) -> Atoms:
    return next(itertools.islice(iterate_atoms(path), number, None))


def _fits(name: str, value: object, label: str, n_atoms: int) -> bool:
    try:
        array = np.asarray(value)
    except ValueError:
        return False
    if label == "forces":
        return (
            array.dtype.kind == "f"
            and array.shape == (n_atoms, 3)
            and name not in (*NO_FORCES, "dipole")
        )
    if label == "energy":
        return array.dtype.kind == "f" and array.size == 1 and name not in _NO_ENERGY
    if label == "dipole":
        return array.dtype.kind == "f" and array.shape == (3,) and "dipole" in name.lower()
    named = any(word in name.lower() for word in ("stress", "virial"))
    return array.dtype.kind == "f" and array.size in (6, 9) and named
