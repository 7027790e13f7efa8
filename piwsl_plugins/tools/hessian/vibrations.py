"""Labels from ASE's ``Vibrations`` and ``VibrationsData``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InputError, reason_of
from ...frames.reading import ENERGY, FORCES, Frame, Keys
from ...labels.hessian_labels import HessianLabel
from .conversion import Converted, label_of
from .selection import select

if TYPE_CHECKING:
    from ase import Atoms

#: names of labels that ASE's calculators leave
_NATIVE = Keys("energy", "forces", "stress")
#: forces (eV/Å) of the same calculation, and of certainly another geometry or method
_SAME_FORCES, _OTHER_FORCES = 1e-3, 0.05


def from_vibrations(
    paths: Sequence[Path], data: Path | None, index: str, delta: float | None
) -> Converted:
    """Hessians of ``VibrationsData`` files and ``Vibrations`` folders, in the order given.

    Hessians of a part of the atoms (``indices``, constraints) stay Hessians of these atoms.

    Args:
        paths: JSON files and folders.
        data: file with the structures of the folders, one per folder; JSON files hold their own.
        index: selection of those structures.
        delta: displacement in Å of the folders.

    Raises:
        InputError: for paths that are neither, or that lack displacements.
    """
    folders = [path for path in paths if path.is_dir()]
    structures: list[tuple[Frame, Frame]] = []
    for folder in folders:
        if not any(folder.glob("cache.*.json")) and not (folder / "combined.json").exists():
            raise InputError(
                f"{folder}: this folder holds no forces of ASE's Vibrations (cache.*.json or "
                "combined.json); give the one that Vibrations was named (name, 'vib' by default)"
            )
    if folders:
        if data is None or delta is None:
            raise InputError(
                f"{folders[0]} is a folder of displaced forces: it needs the file of its structure "
                "(the undisplaced one) and --delta, the displacement in Å (ASE's default is 0.01)"
            )
        # labels under our names, and those that a calculator left in the frame
        selected = [select(data, index, keys).frames for keys in (Keys(), _NATIVE)]
        structures = list(zip(*selected, strict=True))
        if len(structures) != len(folders):
            raise InputError(
                f"{len(folders)} folders, but {len(structures)} different structures in {data}; "
                "give one per folder, in the same order (--index selects)"
            )
    labels, frames = [], []
    for path in paths:
        if path.is_dir():
            assert delta is not None
            named, native = structures.pop(0)
            label, forces = _read_folder(path, named.atoms, delta)
            frame = _frame(path, named if named.forces is not None else native, forces)
        else:
            label, frame = _read_file(path)
        labels.append(label)
        frames.append(frame)
    names = ", ".join(path.name for path in paths)
    return Converted(labels, [str(path) for path in paths], f"ASE Vibrations: {names}", frames)


def _frame(path: Path, given: Frame, forces: np.ndarray | None) -> Atoms:
    """The structure of a folder with the forces there, and the energy of the same calculation.

    Raises:
        InputError: where the structure was given with forces that are others.
    """
    atoms: Atoms = given.atoms.copy()
    if forces is None:
        return atoms
    atoms.arrays[FORCES] = forces
    if given.forces is not None:
        difference = float(np.abs(given.forces - forces).max())
        if difference > _OTHER_FORCES:
            raise InputError(
                f"{path}: its forces on the undisplaced structure differ by {difference:.2g} eV/Å "
                f"from those of {given.where}; is that another geometry, or another method? Give "
                "the structure of the folder, or one without forces"
            )
        if given.energy is not None and difference < _SAME_FORCES:
            atoms.info[ENERGY] = given.energy
    return atoms


def _read_file(path: Path) -> tuple[HessianLabel, Atoms]:
    from ase import Atoms
    from ase.vibrations import VibrationsData

    if not path.is_file():
        raise InputError(f"{path}: there is no such file or folder")
    try:
        vibrations: Any = VibrationsData.read(path)  # type: ignore[attr-defined]
        atoms = vibrations.get_atoms()
        indices = vibrations.get_indices() % len(atoms)
        label = label_of(atoms, vibrations.get_hessian_2d(), indices)
    except Exception as error:  # whatever a file of another kind leads to
        raise InputError(
            f"{path}: not a file of ASE's VibrationsData ({reason_of(error)})"
        ) from error
    return label, Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def _read_folder(path: Path, atoms: Atoms, delta: float) -> tuple[HessianLabel, np.ndarray | None]:
    """The label, and the forces of the undisplaced structure in eV/Å, if they are there."""
    from ase.utils.filecache import get_json_cache
    from ase.vibrations import Vibrations

    try:
        # the forces of a displacement are kept under names such as eq, 0x-, 0x+, 0x++
        cache = get_json_cache(path)
        names = [re.fullmatch(r"(\d+)[xyz]([+-]+)", name) for name in cache]
        indices = sorted({int(name[1]) for name in names if name})
        four_points = any(name and len(name[2]) == 2 for name in names)
        if not indices:
            raise ValueError("it holds no displacements")
        vibrations = Vibrations(
            atoms, indices, name=str(path), delta=delta, nfree=4 if four_points else 2
        )
        vibrations.read()
        at_rest = cache["eq"]["forces"] if "eq" in cache else None
    except Exception as error:  # whatever an unfinished folder leads to
        raise InputError(
            f"{path}: not a finished folder of ASE's Vibrations for the {len(atoms)} atoms of the "
            f"structure ({reason_of(error)})"
        ) from error
    return label_of(atoms, np.asarray(vibrations.H), np.array(indices)), at_rest
