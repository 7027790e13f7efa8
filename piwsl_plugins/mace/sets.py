"""The structures of a run by set, from MACE's configurations of its heads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mace.tools.scripts_utils import check_path_ase_read

from ..errors import InputError
from ..frames.entries import Entry
from ..frames.state import state_of
from ..frames.structure import Structure
from ..progress import shown
from .files import HELD_OUT, TRAINING, VALIDATION, data_files
from .labels import labels_of
from .lazy_files import LazyFile

#: place in words, and configurations
_Set = tuple[str, Iterable[Any]]


class Sets:
    """The data of heads, in memory or read from HDF5 and LMDB files when it is asked for."""

    def __init__(self, heads: Sequence[Any]) -> None:
        """Args: heads: MACE's ``HeadConfig`` of all heads of the run."""
        self._level = {head.head_name: head.head_name if len(heads) > 1 else "" for head in heads}

    def training(self, heads: Iterable[Any], energies: bool = False) -> list[Entry]:
        """The training structures of some heads.

        Args:
            heads: which.
            energies: whether their energies are wanted.
        """
        return [entry for head in heads for entry in self._training(head, energies)]

    def structures(self, heads: Iterable[Any]) -> Iterator[Structure]:
        """The training structures of some heads, read when they are asked for."""
        for head in heads:
            yield from (entry.structure for entry in self._training(head, energies=False))

    def validation(self, heads: Iterable[Any]) -> list[Entry]:
        """The validation structures of some heads."""
        sets = ((head, one) for head in heads for one in _validation(head))
        return [entry for head, one in sets for entry in self._entries(head, one)]

    def test(self, heads: Iterable[Any]) -> list[Entry]:
        """The test structures of some heads."""
        sets = ((head, one) for head in heads for one in _test(head))
        return [entry for head, one in sets for entry in self._entries(head, one)]

    def _training(self, head: Any, energies: bool) -> Iterator[Entry]:
        names = ("energy",) if energies else ()
        in_memory = head.collections.train if head.collections is not None else ()
        sets = [("the training data", in_memory), *_lazily_read(head, TRAINING, names)]
        for one in sets:
            yield from self._entries(head, one, energies)

    def _entries(self, head: Any, one: _Set, energies: bool = False) -> Iterator[Entry]:
        name, configs = one
        level = self._level[head.head_name]
        place = f"{name} of head '{level}'" if level else name
        for number, config in enumerate(configs):
            energy = energy_of(config) if energies else None
            yield entry_of(config, place, number, level=level, energy=energy)


def labels_in_validation(head: Any, names: Sequence[str]) -> Iterator[frozenset[str]]:
    """Which of some labels each validation structure of a head has, one after the other."""
    for _, configs in _validation(head, names):
        for config in configs:
            yield labels_of(config, names)


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
        state = state_of(config.properties, "total_charge", "total_spin")
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


def _validation(head: Any, names: Sequence[str] = ()) -> Iterator[_Set]:
    given = head.valid_file
    paths = [given] if isinstance(given, str) else given or []
    # MACE 0.3.16 (mace/cli/run_train.py) leaves frames that it split off beside HDF5 or LMDB
    if head.collections is not None and (not paths or any(map(check_path_ase_read, paths))):
        yield "the validation data", head.collections.valid or ()
    yield from _lazily_read(head, VALIDATION, names)


def _test(head: Any) -> Iterator[_Set]:
    if head.collections is not None:
        tests = head.collections.tests or ()
        yield "the test data", [config for _, configs in tests for config in configs]
    others = [option for option in HELD_OUT if option not in VALIDATION]
    yield from _lazily_read(head, others)


def _lazily_read(head: Any, options: Iterable[str], names: Sequence[str] = ()) -> Iterator[_Set]:
    """Paths and configurations of a head's data of HDF5 and LMDB, with some labels."""
    for path in data_files(vars(head), options):
        if not check_path_ase_read(path):
            yield path, shown(LazyFile(path, names), f"reading {path}")
