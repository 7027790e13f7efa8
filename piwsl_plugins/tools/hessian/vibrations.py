"""Labels from ASE's ``Vibrations`` and ``VibrationsData``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...core.hessian_labels import HessianLabel
from ..errors import InputError, reason_of
from .conversion import Converted, label_of
from .selection import select

if TYPE_CHECKING:
    from ase import Atoms


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
    structures: list[Atoms] = []
    if folders:
        if data is None or delta is None:
            raise InputError(
                f"{folders[0]} is a folder of displaced forces: it needs the file of its structure "
                "(the undisplaced one) and --delta, the displacement in Å (ASE's default is 0.01)"
            )
        structures = [frame.atoms for frame in select(data, index).frames]
        if len(structures) != len(folders):
            raise InputError(
                f"{len(folders)} folders, but {len(structures)} different structures in {data}; "
                "give one per folder, in the same order (--index selects)"
            )
    labels = []
    for path in paths:
        if path.is_dir():
            assert delta is not None
            labels.append(_read_folder(path, structures.pop(0), delta))
        else:
            labels.append(_read_file(path))
    names = ", ".join(path.name for path in paths)
    return Converted(labels, [str(path) for path in paths], f"ASE Vibrations: {names}")


def _read_file(path: Path) -> HessianLabel:
    from ase.vibrations import VibrationsData

    if not path.is_file():
        raise InputError(f"{path}: there is no such file or folder")
    try:
        vibrations = VibrationsData.read(path)
        atoms = vibrations.get_atoms()
        indices = vibrations.get_indices() % len(atoms)
        return label_of(atoms, vibrations.get_hessian_2d(), indices)
    except Exception as error:  # whatever a file of another kind leads to
        raise InputError(
            f"{path}: not a file of ASE's VibrationsData ({reason_of(error)})"
        ) from error


def _read_folder(path: Path, atoms: Atoms, delta: float) -> HessianLabel:
    from ase.utils.filecache import get_json_cache
    from ase.vibrations import Vibrations

    try:
        # the forces of a displacement are kept under names such as eq, 0x-, 0x+, 0x++
        names = [re.fullmatch(r"(\d+)[xyz]([+-]+)", name) for name in get_json_cache(path)]
        indices = sorted({int(name[1]) for name in names if name})
        four_points = any(name and len(name[2]) == 2 for name in names)
        if not indices:
            raise ValueError("it holds no displacements")
        vibrations = Vibrations(
            atoms, indices, name=str(path), delta=delta, nfree=4 if four_points else 2
        )
        vibrations.read()
    except Exception as error:  # whatever an unfinished folder leads to
        raise InputError(
            f"{path}: not a finished folder of ASE's Vibrations for the {len(atoms)} atoms of the "
            f"structure ({reason_of(error)})"
        ) from error
    return label_of(atoms, vibrations.H, np.array(indices))
