"""Structures with their labels, read from any file of ASE's formats and checked."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

#: vectors of atoms by names of ASE's that tell what they are
_NO_FORCES = ("positions", "momenta", "velocities", "initial_magmoms", "magmoms")


@dataclasses.dataclass(frozen=True)
class LabelKeys:
    """Under which names a file holds its labels; eV, eV/Å and eV/Å³ (ASE's sign)."""

    energy: str = "REF_energy"
    forces: str = "REF_forces"
    stress: str = "REF_stress"


@dataclasses.dataclass(frozen=True)
class Frame:
    """One structure with its labels.

    Attributes:
        atoms: bare, without calculator and constraints; charge and spin are kept.
        where: file and frame number (from 0), for messages.
        config_type: its ``config_type``, or "" if it has none.
        energy: total energy in eV, or None.
        forces: ``(n_atoms, 3)`` in eV/Å, or None.
        stress: ``(6,)`` in eV/Å³ in ASE's order and sign, or None.
        constrained: whether the file held constraints.
        vectors: names of other arrays with a vector for each atom, which may be forces.
    """

    atoms: Atoms
    where: str
    config_type: str = ""
    energy: float | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    constrained: bool = False
    vectors: tuple[str, ...] = ()

    @functools.cached_property
    def key(self) -> str:
        """Identifies geometry, cell, charge and spin."""
        digest = hashlib.sha256()
        for array in (self.atoms.numbers, self.atoms.positions, self.atoms.cell, self.atoms.pbc):
            digest.update(np.ascontiguousarray(array).tobytes())
        for name in ("charge", "spin"):
            digest.update(f"{name} {self.atoms.info.get(name)}".encode())
        for name in ("initial_charges", "initial_magmoms"):
            if self.atoms.has(name):
                digest.update(name.encode() + self.atoms.get_array(name).tobytes())
        return digest.hexdigest()[:32]


def read_frames(path: Path, index: str = ":", keys: LabelKeys | None = None) -> list[Frame]:
    """The structures of ``path``, with the labels that they have.

    Args:
        path: any file that ASE reads.
        index: ASE's frame selection, such as ``:``, ``0:100`` or ``::10``.
        keys: names of the labels; a frame's calculator is searched too.

    Raises:
        InputError: naming file and frame, for a file or selection that gives no structures, for
            labels of another shape, and for data that cannot be right
            (:mod:`piwsl_plugins.core.frame_checks`).
    """
    numbered = list(enumerate(iterate_atoms(path)))
    chosen = _selection(index)
    try:
        selected = numbered[chosen] if isinstance(chosen, slice) else [numbered[chosen]]
    except IndexError:
        selected = []
    if not selected:
        raise InputError(
            f"--index={index}: there is no such frame; {path} has {len(numbered)}, counted from 0"
        )
    return [_frame(atoms, f"{path} frame {n}", keys or LabelKeys()) for n, atoms in selected]


def iterate_frames(path: Path, keys: LabelKeys | None = None) -> Iterator[Frame]:
    """The structures of ``path``, one after the other, for files of any length.

    Args:
        path: any file that ASE reads.
        keys: names of the labels; a frame's calculator is searched too.

    Raises:
        InputError: as :func:`read_frames`.
    """
    for number, atoms in enumerate(iterate_atoms(path)):
        yield _frame(atoms, f"{path} frame {number}", keys or LabelKeys())


def place(frame: Frame) -> bytes:
    """Identifies a structure, also where files keep other digits.

    Identical are elements, positions rounded to 0.001 Å, the cell where it is periodic, and total
    charge and spin, of which none are 0 and 1.
    """
    from ..core.frame_checks import geometry_key

    atoms = frame.atoms
    rows = np.concatenate([atoms.positions, atoms.cell.array[atoms.pbc]])
    state = atoms.pbc.tobytes()
    for name, default in (("charge", 0), ("spin", 1)):
        value = atoms.info.get(name, default)
        value = float(value) if isinstance(value, int | float | np.number) else value
        state += f" {name} {value}".encode()
    return hashlib.sha256(geometry_key(atoms.numbers, rows) + state).digest()


def elements_of(frames: Iterable[Frame]) -> list[int]:
    """The atomic numbers that occur, sorted."""
    return sorted({int(number) for frame in frames for number in frame.atoms.numbers})


def iterate_atoms(path: Path) -> Iterator[Atoms]:
    """The structures of ``path`` as ASE reads them, with everything that the file holds.

    Raises:
        InputError: for a file that is not there, empty or cannot be read.
    """
    from ase.io import iread

    if path.is_dir():
        raise InputError(f"{path} is a folder; give the file of structures in it")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    number = 0
    try:
        for atoms in iread(path, index=":", do_not_split_by_at_sign=True):
            yield atoms
            number += 1
    except Exception as error:  # ASE's readers raise errors of every kind, sometimes empty
        frame = f" frame {number}" if number else ""
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}{frame}: ASE cannot read this ({reason})") from error
    if number == 0:
        raise InputError(f"{path}: the file holds no structures")


def _selection(index: str) -> slice | int:
    from ase.io.formats import string2index

    try:
        chosen = string2index(index)
    except (TypeError, ValueError):
        chosen = None
    if not isinstance(chosen, slice | int) or (isinstance(chosen, slice) and chosen.step == 0):
        raise InputError(f"--index={index}: write it as ASE does: 7, :, 0:100 or ::10")
    return chosen


def _frame(atoms: Atoms, where: str, keys: LabelKeys) -> Frame:
    from ..core.frame_checks import problem_of_atoms

    energy = _label(atoms, keys.energy, where, 1)
    forces = _label(atoms, keys.forces, where, 3 * len(atoms))
    stress = _label(atoms, keys.stress, where, 6, 9)
    results = {} if atoms.calc is None else atoms.calc.results
    native = {name: results.get(name) for name in ("energy", "forces", "stress")}
    labels = {keys.energy: energy, keys.forces: forces, keys.stress: stress}
    problem = problem_of_atoms(atoms, **{**native, **labels})
    if problem is not None:
        raise InputError(f"{where}: {problem}")
    if stress is not None and stress.size == 9:
        stress = stress[[0, 4, 8, 5, 2, 1]]
    return Frame(
        _bare(atoms),
        where,
        str(atoms.info.get("config_type", "")),
        None if energy is None else float(energy[0]),
        None if forces is None else forces.reshape(-1, 3),
        stress,
        bool(atoms.constraints),
        _vectors(atoms, keys.forces),
    )


def _label(atoms: Atoms, key: str, where: str, *sizes: int) -> np.ndarray | None:
    """A label as a flat array, wherever ASE put it: info, arrays or the frame's calculator."""
    results = {} if atoms.calc is None else atoms.calc.results
    for container in (atoms.info, atoms.arrays, results):
        if container.get(key) is None:
            continue
        try:
            value = np.asarray(container[key], dtype=float).ravel()
        except (TypeError, ValueError):
            raise InputError(f"{where}: '{key}' is not numeric") from None
        if value.size not in sizes:
            expected = " or ".join(map(str, sizes))
            raise InputError(f"{where}: '{key}' has {value.size} numbers, {expected} expected")
        return value
    return None


def _vectors(atoms: Atoms, forces_key: str) -> tuple[str, ...]:
    """Names of arrays ``(n_atoms, 3)`` of real numbers that are not known to be something else."""
    results = {} if atoms.calc is None else atoms.calc.results
    arrays = {**atoms.arrays, "forces": results.get("forces", atoms.arrays.get("forces", ()))}
    return tuple(
        name
        for name, array in arrays.items()
        if name not in (*_NO_FORCES, forces_key)
        and np.shape(array) == (len(atoms), 3)
        and np.asarray(array).dtype.kind == "f"
    )


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
