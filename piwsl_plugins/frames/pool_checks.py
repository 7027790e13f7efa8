"""A pool, looked through before training: elements, frames held out, scale of the energies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import SettingsError
from .energy_scale import IMPOSSIBLE, UNLIKELY, Energies, distance
from .entries import Entry
from .identity import StructureIndex


def look_through(
    path: str,
    pool: Sequence[Entry],
    elements: Iterable[int],
    held_out: Sequence[Entry],
    training: Sequence[Entry],
    energies: bool,
) -> str:
    """Refuse a pool that cannot be trained on, or that a model is validated or tested on.

    Args:
        path: its file.
        pool: its structures.
        elements: atomic numbers that the model knows.
        held_out: validation and test data.
        training: the training data.
        energies: whether the pool's are trained on, and must be of the training data's scale.

    Returns:
        what the pool holds, for the log.

    Raises:
        SettingsError: naming ``pool_file`` and the frame.
    """
    known = {int(z) for z in elements}
    excluded = StructureIndex(entry.structure for entry in held_out)
    in_training = StructureIndex(entry.structure for entry in training)
    n_shared = 0
    for entry in pool:
        found = excluded.find(entry.structure)
        if found is not None:
            raise SettingsError(
                "pool_file",
                path,
                f"frame {entry.number} (from 0) is {held_out[found].where}; remove it from the "
                "pool, or errors on such data mean nothing",
            )
        unknown = set(entry.structure.numbers.tolist()) - known
        if unknown:
            raise SettingsError(
                "pool_file",
                path,
                f"frame {entry.number} (from 0) holds {_symbols(unknown)}, but the model knows "
                f"{_symbols(known)} only, the elements of the training data; remove such "
                "structures from the file",
            )
        n_shared += in_training.find(entry.structure) is not None
    if not pool:
        raise SettingsError("pool_file", path, "there is no structure in this file")
    n_labelled = sum(bool(entry.labels) for entry in pool)
    apart = distance(_energies(pool), _energies(training)) if energies else 0.0
    return (
        f"PIWSL: pool of {len(pool)} structures, {n_labelled} with labels; {n_shared} of them are "
        f"in the training data too{_check_scale(path, apart)}"
    )


def _energies(entries: Iterable[Entry]) -> Energies:
    energies = Energies()
    for entry in entries:
        if entry.energy is not None:
            energies.add(entry.structure.numbers, entry.energy)
    return energies


def _check_scale(path: str, apart: float) -> str:
    """A warning of energies that lie eV per atom apart.

    Raises:
        SettingsError: if they cannot be of one method.
    """
    words = f"its energies lie on average {apart:.4g} eV/atom from those of the training frames; "
    if abs(apart) > IMPOSSIBLE:
        remedy = "take the offsets between the two methods off, as 'piwsl weak' does"
        raise SettingsError("pool_file", path, words + remedy)
    remedy = (
        "if they are of another method, take the offsets off, as 'piwsl weak' does; if its "
        "structures are that much more or less strained, nothing is wrong"
    )
    return f"\nPIWSL: WARNING: {path}: {words}{remedy}" if abs(apart) > UNLIKELY else ""


def _symbols(numbers: Iterable[int]) -> str:
    from ase.data import chemical_symbols

    return ", ".join(chemical_symbols[z] for z in sorted(numbers))
