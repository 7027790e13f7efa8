"""Structures of HDF5 and LMDB files as entries, each read once, where a run begins.

MACE reads its arguments and its data at places that hand nothing on to each other, so that what
the check of the arguments has read waits in this module for the one of the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..frames.entries import Entry
from ..frames.state import state_of
from ..frames.structure import Structure
from .files import checked
from .labels import labels_of
from .lazy_files import STATE, parts_of_path
from .process import fail

#: what :func:`check_lazy_file` has kept, by path
_KEPT: dict[str, list[Entry]] = {}


def check_lazy_file(path: str, read: Sequence[str], keep: bool = False) -> None:
    """End the run if an HDF5 or LMDB file or folder holds what cannot be right.

    MACE reads its structures one by one in training, so that they are looked at beforehand.

    Args:
        path: the file or folder, or LMDB files joined by colons.
        read: names of the labels that are used.
        keep: whether its structures will be asked for, so that :func:`kept` hands them on.
    """
    missing = [part for part in parts_of_path(path) if not Path(part).exists()]
    if missing:
        fail(f"{path}: there is no {missing[0]}")
    entries = []
    names = (*STATE, *read) if keep else read
    try:
        for number, config in checked(path, names, read, f"checking {path}"):
            if keep:
                labels, energy = labels_of(config, read), energy_of(config)
                entries.append(entry_of(config, path, number, labels, energy=energy))
    except InputError as error:
        fail(str(error))
    except ValueError as error:
        fail(f"{path}: {error}")
    if keep:
        _KEPT[path] = entries


def kept() -> dict[str, list[Entry]]:
    """What has been kept, by path; the caller's from then on."""
    entries = dict(_KEPT)
    _KEPT.clear()
    return entries


def entry_of(
    config: Any,
    place: str,
    number: int,
    labels: frozenset[str] = frozenset(),
    level: str = "",
    energy: float | None = None,
) -> Entry:
    """An entry for a configuration of MACE's.

    Raises:
        InputError: naming the frame, if its charge or spin is no number.
    """
    try:
        # by the names of MACE's properties, whatever the keys of the file are
        state = state_of(config.properties, *STATE)
    except ValueError as error:
        raise InputError(f"frame {number} (from 0) of {place}: {error}") from error
    structure = Structure.of(
        config.atomic_numbers,
        config.positions,
        config.cell,
        config.pbc,
        state.charge,
        state.spin,
        level,
    )
    return Entry(structure, place, number, labels, energy)


def energy_of(config: Any) -> float | None:
    """The energy of a configuration of MACE's (eV), if it has one that counts."""
    return float(config.properties["energy"]) if labels_of(config, ("energy",)) else None
