"""The structures of a run by set, from MACE's configurations of its heads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from mace.tools.scripts_utils import check_path_ase_read

from ..frames.entries import Entry
from ..frames.structure import Structure
from ..progress import shown
from .files import HELD_OUT, TRAINING, VALIDATION, data_files
from .labels import labels_of
from .lazy_files import STATE, LazyFile
from .tables import energy_of, entry_of, kept


class _Part(NamedTuple):
    """Data of one origin.

    Attributes:
        place: in words, or the path of an HDF5 or LMDB file or folder.
        in_memory: configurations; None for what is in such a file.
    """

    place: str
    in_memory: Iterable[Any] | None = None


class Sets:
    """The data of heads: in memory, or of HDF5 and LMDB files.

    What has been kept of these when they were checked is not read again.
    """

    def __init__(self, heads: Sequence[Any]) -> None:
        """Args: heads: MACE's ``HeadConfig`` of all heads of the run."""
        self._level = {head.head_name: head.head_name if len(heads) > 1 else "" for head in heads}
        self._kept = kept()

    def training(self, heads: Iterable[Any], energies: bool = False) -> list[Entry]:
        """The training structures of some heads.

        Args:
            heads: which.
            energies: whether their energies are wanted.
        """
        return [entry for head in heads for entry in self._of(head, _training, energies)]

    def structures(self, heads: Iterable[Any]) -> Iterator[Structure]:
        """The training structures of some heads, read when they are asked for."""
        for head in heads:
            yield from (entry.structure for entry in self._of(head, _training))

    def validation(self, heads: Iterable[Any]) -> list[Entry]:
        """The validation structures of some heads."""
        return [entry for head in heads for entry in self._of(head, _validation)]

    def test(self, heads: Iterable[Any]) -> list[Entry]:
        """The test structures of some heads."""
        return [entry for head in heads for entry in self._of(head, _test)]

    def labels_in_validation(self, head: Any, names: Collection[str]) -> Iterator[Collection[str]]:
        """Which of some labels each validation structure of a head has, one after the other.

        Args:
            head: MACE's ``HeadConfig``.
            names: those of labels that the base loss reads.
        """
        for part in _validation(head):
            entries = self._entries_of(part)
            if entries is not None:
                yield from (entry.labels.intersection(names) for entry in entries)
            else:
                yield from (labels_of(config, names) for config in _configs(part, sorted(names)))

    def _entries_of(self, part: _Part) -> list[Entry] | None:
        """What has been kept of it, or None."""
        return self._kept.get(part.place) if part.in_memory is None else None

    def _of(
        self, head: Any, parts_of: Callable[[Any], Iterator[_Part]], energies: bool = False
    ) -> Iterator[Entry]:
        level = self._level[head.head_name]
        for part in parts_of(head):
            place = f"{part.place} of head '{level}'" if level else part.place
            entries = self._entries_of(part)
            if entries is not None:
                yield from (_of_head(entry, place, level, energies) for entry in entries)
                continue
            for number, config in enumerate(_configs(part, _read(energies))):
                energy = energy_of(config) if energies else None
                yield entry_of(config, place, number, level=level, energy=energy)


def _read(energies: bool) -> tuple[str, ...]:
    """Names of the properties that tell what a structure is, and its energy if it is wanted."""
    return (*STATE, "energy") if energies else STATE


def _of_head(entry: Entry, place: str, level: str, energies: bool) -> Entry:
    """A kept entry as that of a head; where there is but one, it has no level."""
    if not level:
        return entry
    structure = dataclasses.replace(entry.structure, level=level)
    energy = entry.energy if energies else None
    return dataclasses.replace(entry, structure=structure, place=place, energy=energy)


def _configs(part: _Part, names: Sequence[str]) -> Iterable[Any]:
    """Configurations, with some properties if they are read here."""
    if part.in_memory is not None:
        return part.in_memory
    return shown(LazyFile(part.place, names), f"reading {part.place}")


def _training(head: Any) -> Iterator[_Part]:
    in_memory = head.collections.train if head.collections is not None else ()
    yield _Part("the training data", in_memory)
    yield from _lazily_read(head, TRAINING)


def _validation(head: Any) -> Iterator[_Part]:
    given = head.valid_file
    paths = [given] if isinstance(given, str) else given or []
    # MACE 0.3.16 (mace/cli/run_train.py) leaves frames that it split off beside HDF5 or LMDB
    if head.collections is not None and (not paths or any(map(check_path_ase_read, paths))):
        yield _Part("the validation data", head.collections.valid or ())
    yield from _lazily_read(head, VALIDATION)


def _test(head: Any) -> Iterator[_Part]:
    if head.collections is not None:
        tests = head.collections.tests or ()
        yield _Part("the test data", [config for _, configs in tests for config in configs])
    others = [option for option in HELD_OUT if option not in VALIDATION]
    yield from _lazily_read(head, others)


def _lazily_read(head: Any, options: Iterable[str]) -> Iterator[_Part]:
    """The HDF5 and LMDB files that options of a head name."""
    for path in data_files(vars(head), options):
        if not check_path_ase_read(path):
            yield _Part(path)
