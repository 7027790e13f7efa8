"""The two files of a run, expensive frames and a pool, looked through before anything else."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...frames.identity import StructureIndex
from ...frames.reading import Frame, Keys, elements_of, read_frames
from ..label_names import say_candidates
from ..units import require_angstrom

#: neighbours of an element in one file may be this many times farther apart than in the other
_SPACING = 1.6
#: energies (eV per atom) of one structure, to 0.001 Å, differ by less
_ONE_ENERGY = 1e-3
#: frames of which the distances are compared
_COMPARED = 200


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What takes part.

    Attributes:
        training: frames with expensive labels, each geometry once, in an order of their own.
        pool: structures to label, each once, in the order of their file.
        notes: lines on what was left out.
    """

    training: list[Frame]
    pool: list[Frame]
    notes: list[str]


def read_inputs(training: Path, pool: Path, keys: Keys, labelled: bool) -> Inputs:
    """Read both files.

    Args:
        training: frames with expensive labels.
        pool: structures to label.
        keys: names of the labels.
        labelled: whether every training frame must have an energy.

    Raises:
        InputError: naming file and frame, for frames that cannot be used, elements of the pool
            that the training frames lack, and a pool in another unit of length.
    """
    notes: list[str] = []
    given = _each_once(read_frames(training, keys=keys), training, notes)
    require_angstrom(given)
    if labelled:
        _require_energies(given, training, keys.energy)
        notes += forces_unread(given, training, keys.forces)
    structures_alone = dataclasses.replace(keys, energy=None, forces=None, stress=None)
    candidates = _each_once(read_frames(pool, keys=structures_alone), pool, notes)
    known = StructureIndex(frame.structure for frame in given)
    structures = [frame for frame in candidates if known.find(frame.structure) is None]
    if len(structures) < len(candidates):
        n_shared = len(candidates) - len(structures)
        notes.append(f"{n_shared} frames of {pool} left out: they are in {training} too")
    if not structures:
        raise InputError(f"{pool}: every structure is in {training} too; there is nothing to label")
    _require_elements(given, structures, training)
    _require_one_length_unit(given, structures, pool)
    # so that no label depends on the order of the training file
    return Inputs(sorted(given, key=lambda frame: frame.key), structures, notes)


def _each_once(frames: Sequence[Frame], path: Path, notes: list[str]) -> list[Frame]:
    whole = [f for f in frames if len(f.atoms) > 1 or f.config_type != "IsolatedAtom"]
    if len(whole) < len(frames):
        notes.append(
            f"{len(frames) - len(whole)} isolated atoms of {path} left out: the offsets between "
            "the methods come from the other frames"
        )
    index = StructureIndex()
    unique: list[Frame] = []
    for frame in whole:
        number, new = index.find_or_add(frame.structure)
        if new:
            unique.append(frame)
        else:
            _require_one_energy(unique[number], frame)
    if len(unique) < len(whole):
        notes.append(f"{len(whole) - len(unique)} repeated frames of {path} used once")
    if not whole:
        raise InputError(f"{path}: it holds no frames but isolated atoms")
    return unique


def _require_one_energy(frame: Frame, again: Frame) -> None:
    """Refuse two energies of one structure, of which nobody says which one is meant."""
    if frame.energy is None or again.energy is None:
        return
    apart = abs(frame.energy - again.energy) / len(frame.atoms)
    if apart > _ONE_ENERGY:
        raise InputError(
            f"{again.where}: the geometry of {frame.where} with another energy (by "
            f"{apart:.3g} eV/atom); leave out the one that is not of the expensive method"
        )


def _require_energies(frames: Sequence[Frame], path: Path, key: str | None) -> None:
    without = [frame for frame in frames if frame.energy is None]
    if without:
        number = int(without[0].where.rpartition(" ")[2])
        remedy = say_candidates(path, number, "energy", "--energy_key")
        raise InputError(
            f"{without[0].where}: no energy under '{key}' ({len(without)} of {len(frames)} frames "
            f"of {path} have none); {remedy}, or remove such frames"
        )


def forces_unread(frames: Sequence[Frame], path: Path, key: str | None) -> list[str]:
    """A line on frames without forces that hold something which may be theirs."""
    without = [frame for frame in frames if frame.forces is None and frame.vectors]
    if not without:
        return []
    names = ", ".join(f"'{name}'" for name in sorted({n for f in without for n in f.vectors}))
    return [
        f"{len(without)} of {len(frames)} frames of {path} have no forces under '{key}', but "
        f"{names}, which is not used; if these are forces (eV/Å), name them with --forces_key"
    ]


def _require_elements(training: Sequence[Frame], pool: Sequence[Frame], path: Path) -> None:
    from ase.data import chemical_symbols

    unknown = set(elements_of(pool)) - set(elements_of(training))
    if unknown:
        bad = [frame for frame in pool if unknown & set(frame.atoms.numbers.tolist())]
        symbols = ", ".join(chemical_symbols[z] for z in sorted(unknown))
        raise InputError(
            f"{bad[0].where}: no frame of {path} holds {symbols} ({len(bad)} structures of the "
            "pool do); label some that do, or remove these from the pool"
        )


def _require_one_length_unit(training: Sequence[Frame], pool: Sequence[Frame], path: Path) -> None:
    from ase.data import chemical_symbols

    expected, spacings = _spacings(training), _spacings(pool)
    ratios = {z: spacings[z] / expected[z] for z in spacings if z in expected}
    # a unit changes all distances, another composition or phase those of some elements
    if ratios and (min(ratios.values()) > _SPACING or max(ratios.values()) < 1 / _SPACING):
        element = min(ratios)
        raise InputError(
            f"{path}: the nearest neighbours of {chemical_symbols[element]} are "
            f"{spacings[element]:.3g} apart, but {expected[element]:.3g} Å in the training frames; "
            "positions must be in Å (1 bohr is 0.529177 Å, 1 nm is 10 Å)"
        )


def _spacings(frames: Sequence[Frame]) -> dict[int, float]:
    """The median over frames of the shortest distance (Å) that atoms of each element have."""
    from ase.neighborlist import neighbor_list

    shortest: dict[int, list[float]] = {}
    for frame in frames[:: max(1, len(frames) // _COMPARED)]:
        for cutoff in (3.0, 12.0):
            first, distances = neighbor_list("id", frame.atoms, cutoff)
            if distances.size:
                break
        elements = frame.atoms.numbers[first]
        for z in set(elements.tolist()):
            shortest.setdefault(z, []).append(distances[elements == z].min())
    return {z: float(np.median(found)) for z, found in shortest.items()}
