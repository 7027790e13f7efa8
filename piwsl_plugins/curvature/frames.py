"""The structures to be labelled, read from any file of ASE's formats."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import CurvatureError

if TYPE_CHECKING:
    from ase import Atoms


@dataclasses.dataclass(frozen=True)
class Structure:
    """One structure.

    Attributes:
        atoms: bare, without calculator and constraints; charge and spin are kept.
        where: file and frame number (from 0), for messages.
        key: identifies geometry, cell, charge and spin.
    """

    atoms: Atoms
    where: str
    key: str


@dataclasses.dataclass(frozen=True)
class Structures:
    """What is to be labelled, each geometry once, and how many frames were left out."""

    structures: tuple[Structure, ...]
    n_single_atoms: int
    n_repeated: int


def read_structures(path: Path, index: str) -> Structures:
    """The structures of ``path``; single atoms are left out, as they have no curvature.

    Args:
        path: any file that ASE reads.
        index: ASE's frame selection, such as ``:``, ``0:100`` or ``::10``.

    Raises:
        CurvatureError: for a file or selection that gives no structures, and for two frames with
            the same positions in different cells, which labels cannot tell apart.
    """
    kept: dict[str, Structure] = {}
    by_positions: dict[bytes, Structure] = {}
    n_single = n_repeated = 0
    for number, atoms in _read(path, index):
        where = f"{path} frame {number}"
        if not np.isfinite(atoms.positions).all():
            raise CurvatureError(f"{where}: a position is not finite")
        if len(atoms) <= 1:
            n_single += 1
            continue
        structure = Structure(_bare(atoms), where, _key(_bare(atoms)))
        geometry = atoms.numbers.tobytes() + atoms.positions.tobytes()
        twin = by_positions.setdefault(geometry, structure)
        if twin.key != structure.key:
            raise CurvatureError(
                f"{where}: same atoms and positions as {twin.where}, but another cell or charge; "
                "labels are found by positions and cannot tell the two apart: leave one out"
            )
        n_repeated += structure.key in kept
        kept.setdefault(structure.key, structure)
    if not kept:
        raise CurvatureError(
            f"{path}: with --index={index} there is no structure of two or more atoms"
        )
    return Structures(tuple(kept.values()), n_single, n_repeated)


def _read(path: Path, index: str) -> Sequence[tuple[int, Atoms]]:
    from ase.io import read
    from ase.io.formats import string2index

    if not path.is_file():
        raise CurvatureError(f"{path}: there is no such file")
    try:
        chosen = string2index(index)
    except (TypeError, ValueError):
        chosen = None
    if not isinstance(chosen, slice | int):
        raise CurvatureError(f"--index={index}: write it as ASE does: 7, :, 0:100 or ::10")
    try:
        frames = list(enumerate(read(path, index=":")))
    except Exception as error:  # ASE's readers raise errors of every kind, sometimes empty
        raise CurvatureError(
            f"{path}: ASE cannot read this file ({str(error) or type(error).__name__})"
        ) from error
    try:
        return frames[chosen] if isinstance(chosen, slice) else [frames[chosen]]
    except IndexError:
        raise CurvatureError(
            f"--index={index}: {path} has {len(frames)} frames, counted from 0"
        ) from None


def _bare(atoms: Atoms) -> Atoms:
    from ase import Atoms as Bare

    bare = Bare(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    for name in ("charge", "spin"):
        if name in atoms.info:
            bare.info[name] = atoms.info[name]
    for name in ("initial_charges", "initial_magmoms"):
        if atoms.has(name):
            bare.set_array(name, atoms.get_array(name))
    return bare


def _key(bare: Atoms) -> str:
    digest = hashlib.sha256()
    for array in (bare.numbers, bare.positions, bare.cell.array, bare.pbc):
        digest.update(np.ascontiguousarray(array).tobytes())
    for name in ("charge", "spin"):
        digest.update(f"{name} {bare.info.get(name)}".encode())
    for name in ("initial_charges", "initial_magmoms"):
        if bare.has(name):
            digest.update(name.encode() + bare.get_array(name).tobytes())
    return digest.hexdigest()[:32]
