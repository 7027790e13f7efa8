"""One reader for all files of structures, with their labels where these are asked for."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, SettingsError
from .checks import problem_of_atoms
from .state import State, state_of
from .structure import Structure

if TYPE_CHECKING:
    from ase import Atoms

#: vectors of atoms by names of ASE's that tell what they are
NO_FORCES = ("positions", "momenta", "velocities", "initial_magmoms", "magmoms")


class FrameError(InputError):
    """A file of structures, or one of its frames, that cannot be used.

    Attributes:
        path: the file.
        frame: number of the frame, from 0; None for the file as a whole.
        problem: what is wrong, with the remedy.
    """

    def __init__(self, path: Path | str, frame: int | None, problem: str) -> None:
        super().__init__(f"{path}{'' if frame is None else f' frame {frame}'}: {problem}")
        self.path, self.frame, self.problem = path, frame, problem

    def of_option(self, option: str) -> SettingsError:
        """The same as an error of the option that gave the file."""
        where = "" if self.frame is None else f"frame {self.frame} (from 0): "
        return SettingsError(option, str(self.path), where + self.problem)


#: under which files hold labels unless a user says otherwise, and under which they are written
ENERGY, FORCES, STRESS = "REF_energy", "REF_forces", "REF_stress"


@dataclasses.dataclass(frozen=True)
class Keys:
    """Under which names a file holds labels, charge and spin; eV, eV/Å, eV/Å³ (ASE's sign), e·Å.

    A label whose name is None is neither read nor judged. Charge and spin that are not named are
    those of :data:`~.state.CHARGE_KEYS` and :data:`~.state.SPIN_KEYS`.
    """

    energy: str | None = ENERGY
    forces: str | None = FORCES
    stress: str | None = STRESS
    charge: str = ""
    spin: str = ""
    dipole: str | None = None


#: structures alone
NO_LABELS = Keys(None, None, None)


@dataclasses.dataclass(frozen=True)
class Frame:
    """A structure of a file, with its labels.

    Attributes:
        atoms: bare, without calculator and constraints; charge and spin, where they were given,
            are ``info["charge"]`` and ``info["spin"]``.
        where: file and frame number (from 0), for messages.
        config_type: its ``config_type``, or "" if it has none.
        energy: total energy in eV, or None.
        forces: ``(n_atoms, 3)`` in eV/Å, or None.
        stress: ``(6,)`` in eV/Å³ in ASE's order and sign, or None.
        constrained: whether the file held constraints.
        vectors: names of other arrays with a vector for each atom, which may be forces.
        state: charge and spin by the names that the file gave them.
        dipole: ``(3,)`` in e·Å, or None.
    """

    atoms: Atoms
    where: str
    config_type: str = ""
    energy: float | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    constrained: bool = False
    vectors: tuple[str, ...] = ()
    state: State = dataclasses.field(default_factory=State)
    dipole: np.ndarray | None = None

    @functools.cached_property
    def key(self) -> str:
        """Identifies to the last bit what a calculator is given, to recognise finished work.

        Whether two frames are the same structure is asked of :attr:`structure`.
        """
        digest = hashlib.sha256()
        for array in (self.atoms.numbers, self.atoms.positions, self.atoms.cell, self.atoms.pbc):
            digest.update(np.ascontiguousarray(array).tobytes())
        for name in ("charge", "spin"):
            digest.update(f"{name} {self.atoms.info.get(name)}".encode())
        for name in ("initial_charges", "initial_magmoms"):
            if self.atoms.has(name):
                digest.update(name.encode() + self.atoms.get_array(name).tobytes())
        return digest.hexdigest()[:32]

    @functools.cached_property
    def structure(self) -> Structure:
        """What it is."""
        return structure_of(self.atoms)

    def written(self, atoms: Atoms | None = None) -> Atoms:
        """A copy for a file: charge and spin by the names that this frame's file gave them.

        Args:
            atoms: these instead of the frame's own, in its state.
        """
        copy: Atoms = (self.atoms if atoms is None else atoms).copy()
        for name in ("charge", "spin"):
            copy.info.pop(name, None)
        copy.info |= self.state.written()
        return copy


def structure_of(atoms: Atoms, level: str = "", keys: Keys = NO_LABELS) -> Structure:
    """What ``ase.Atoms`` are.

    Charge and spin are those of ``info``; without it the charge is the sum of the initial charges,
    as ASE's calculators have it. Initial magnetic moments are a guess where a calculation begins.

    Raises:
        ValueError: in words, for charges and spins that are no numbers or disagree.
    """
    state = state_of(atoms.info, keys.charge, keys.spin)
    charge = state.charge
    if charge is None and atoms.has("initial_charges"):
        charge = round(float(atoms.get_initial_charges().sum()), 3)
    return Structure.of(
        atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, charge, state.spin, level
    )


def atoms_of(structure: Structure) -> Atoms:
    """``ase.Atoms``; charge and spin are in ``info`` where there is one."""
    from ase import Atoms as Made

    atoms = Made(structure.numbers, structure.positions, cell=structure.cell, pbc=structure.pbc)
    atoms.info |= State(structure.charge or None, structure.spin).written()
    return atoms


def read_frames(path: Path, index: str = ":", keys: Keys = NO_LABELS) -> list[Frame]:
    """The structures of ``path``, with the labels that they have.

    Args:
        path: any file that ASE reads.
        index: ASE's frame selection, such as ``:``, ``0:100`` or ``::10``.
        keys: names of the labels; a frame's calculator is searched too.

    Raises:
        FrameError: naming file and frame, for a file that gives no structures, labels of another
            shape, and data that cannot be right (:mod:`piwsl_plugins.frames.checks`).
        InputError: for a selection that gives nothing.
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
    return [_frame(atoms, path, number, keys) for number, atoms in selected]


def iterate_frames(path: Path, keys: Keys = NO_LABELS) -> Iterator[Frame]:
    """The structures of ``path``, one after the other, for files of any length.

    Args:
        path: any file that ASE reads.
        keys: names of the labels; a frame's calculator is searched too.

    Raises:
        FrameError: as :func:`read_frames`.
    """
    for number, atoms in enumerate(iterate_atoms(path)):
        yield _frame(atoms, path, number, keys)


def read_atoms(path: Path | str, option: str, **arguments: Any) -> list[Any]:
    """All structures of a file that an option names, with everything that the file holds.

    Args:
        path: of the file; where there is none of this name, ``file@2:11`` are some of its frames.
        option: that names it.
        arguments: of ``ase.io.iread``, such as a format.

    Raises:
        SettingsError: naming option and frame, for a file that gives no structures, and for ones
            that cannot be right; labels are not judged.
    """
    found = []
    file, _, index = str(path).rpartition("@")
    if file and not Path(path).exists():
        path, arguments = file, {"index": index, **arguments}
    try:
        for number, atoms in enumerate(iterate_atoms(Path(path), **arguments)):
            problem = problem_of_atoms(atoms)
            if problem:
                raise FrameError(path, number, problem)
            found.append(atoms)
    except FrameError as error:
        raise error.of_option(option) from error
    return found


def elements_of(frames: Iterable[Frame]) -> list[int]:
    """The atomic numbers that occur, sorted."""
    return sorted({int(number) for frame in frames for number in frame.atoms.numbers})


def iterate_atoms(path: Path, **arguments: Any) -> Iterator[Atoms]:
    """The structures of ``path`` as ASE reads them, with everything that the file holds.

    Args:
        path: of a file.
        arguments: of ``ase.io.iread``, where they are not to be all its frames.

    Raises:
        FrameError: for a file that is not there, empty or cannot be read.
    """
    from ase.io import iread

    if path.is_dir():
        raise FrameError(path, None, "this is a folder; give the file of structures in it")
    if not path.is_file():
        raise FrameError(path, None, "there is no such file")
    if path.stat().st_size == 0:
        raise FrameError(path, None, "the file is empty")
    number = 0
    try:
        for atoms in iread(path, **{"index": ":", "do_not_split_by_at_sign": True, **arguments}):
            yield atoms
            number += 1
    except FrameError:
        raise
    except Exception as error:  # ASE's readers raise errors of every kind, sometimes empty
        reason = " ".join(str(error).split()) or type(error).__name__
        problem = f"ASE cannot read this ({reason})"
        raise FrameError(path, number or None, problem) from error
    if number == 0 and arguments.get("index", ":") != ":":
        n_frames = sum(1 for _ in iterate_atoms(path, **{**arguments, "index": ":"}))
        problem = (
            f"the index '{arguments['index']}' selects no frame; the file has {n_frames}, counted "
            "from 0"
        )
        raise FrameError(path, None, problem)
    if number == 0:
        raise FrameError(path, None, "there is no structure in this file")


def label_of(atoms: Any, key: str) -> Any:
    """A label of ``ase.Atoms``: of the frame, its atoms or its calculator; None if absent."""
    results = getattr(atoms.calc, "results", {})
    for place in (atoms.info, atoms.arrays, results):
        if place.get(key) is not None:
            return place[key]
    return None


def check_exists(path: Path | str, option: str) -> None:
    """Refuse a path at which there is no file.

    Raises:
        SettingsError: naming the option.
    """
    if not Path(path).is_file():
        raise SettingsError(option, str(path), "there is no such file")


def _selection(index: str) -> slice | int:
    from ase.io.formats import string2index  # type: ignore[attr-defined]

    try:
        chosen = string2index(index)
    except (TypeError, ValueError):
        chosen = None
    if not isinstance(chosen, slice | int) or (isinstance(chosen, slice) and chosen.step == 0):
        raise InputError(f"--index={index}: write it as ASE does: 7, :, 0:100 or ::10")
    return chosen


def _frame(atoms: Atoms, path: Path, number: int, keys: Keys) -> Frame:
    n = len(atoms)
    sizes = {"energy": (1,), "forces": (3 * n,), "stress": (6, 9), "dipole": (3,)}
    try:
        state = state_of(atoms.info, keys.charge, keys.spin)
        labels = {name: _label(atoms, getattr(keys, name), sizes[name]) for name in sizes}
    except ValueError as error:
        raise FrameError(path, number, f"{error}; correct the frame or remove it") from None
    named = {str(getattr(keys, name)): value for name, value in labels.items()}
    problem = problem_of_atoms(atoms, **named)
    if problem is not None:
        raise FrameError(path, number, problem)
    energy, forces, stress, dipole = labels.values()
    if stress is not None and stress.size == 9:
        stress = stress[[0, 4, 8, 5, 2, 1]]
    return Frame(
        _bare(atoms, state),
        f"{path} frame {number}",
        str(atoms.info.get("config_type", "")),
        None if energy is None else float(energy[0]),
        None if forces is None else forces.reshape(-1, 3),
        stress,
        bool(atoms.constraints),
        _vectors(atoms, keys.forces or ""),
        state,
        dipole,
    )


def _label(atoms: Atoms, key: str | None, sizes: tuple[int, ...]) -> np.ndarray | None:
    """A label as a flat array, wherever ASE put it; None if it is absent, or NaN as a whole."""
    value = None if key is None else label_of(atoms, key)
    if value is None:
        return None
    try:
        value = np.asarray(value, dtype=float).ravel()
    except (TypeError, ValueError):
        raise ValueError(f"'{key}' is not numeric") from None
    if value.size not in sizes:
        expected = " or ".join(map(str, sizes))
        raise ValueError(f"'{key}' has {value.size} numbers, {expected} expected")
    return None if np.isnan(value).all() else value


def _vectors(atoms: Atoms, forces_key: str) -> tuple[str, ...]:
    """Names of arrays ``(n_atoms, 3)`` of real numbers that are not known to be something else."""
    results = {} if atoms.calc is None else atoms.calc.results
    arrays = {**atoms.arrays, "forces": results.get("forces", atoms.arrays.get("forces", ()))}
    return tuple(
        name
        for name, array in arrays.items()
        if name not in (*NO_FORCES, forces_key)
        and np.shape(array) == (len(atoms), 3)
        and np.asarray(array).dtype.kind == "f"
    )


def _bare(atoms: Atoms, state: State) -> Atoms:
    from ase import Atoms as Bare

    bare = Bare(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    bare.info |= State(state.charge, state.spin).written()
    for name in ("initial_charges", "initial_magmoms"):
        if atoms.has(name):
            bare.set_array(name, atoms.get_array(name))
    return bare
