"""The frames of NequIP's data sets, read once and checked, for all that is asked of them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from nequip.data import AtomicDataDict
from nequip.utils import RankedLogger

from ..frames.checks import problem_of
from ..frames.entries import Entry
from ..frames.structure import Structure
from ..progress import shown
from .config import DataError
from .frames import Fields, located_frames, needed, transformed
from .labels import Reads
from .levels import Levels
from .structures import numbers_of, state_of_fields

logger = RankedLogger(__name__, rank_zero_only=True)

Named = tuple[str, Any]


@dataclasses.dataclass
class Table:
    """The frames of some data sets.

    Attributes:
        entries: as the files have them, where they are asked for; a frame of another level of
            theory has no energy.
        seen: as the model is given them, likewise; the level is "" where they carry terms.
    """

    entries: list[Entry] = dataclasses.field(default_factory=list)
    seen: list[Structure] = dataclasses.field(default_factory=list)

    @property
    def carrying(self) -> list[Structure]:
        """Those of :attr:`seen` that carry terms."""
        return [structure for structure in self.seen if not structure.level]

    @property
    def others(self) -> list[Structure]:
        """The others."""
        return [structure for structure in self.seen if structure.level]


class Reader:
    """Reads and checks data sets."""

    def __init__(self, type_names: Sequence[str], levels: Levels) -> None:
        """
        Args:
            type_names: of the model; element symbols, where data has no atomic numbers.
            levels: told the level of each frame that is transformed.
        """
        self._type_names, self._levels = list(type_names), levels

    def read(
        self, named: Iterable[Named], reads: Reads, entries: bool = False, transforms: bool = False
    ) -> Table:
        """The frames of some data sets.

        Args:
            named: names and data sets.
            reads: the labels that are read.
            entries: whether :attr:`Table.entries` are asked for.
            transforms: whether :attr:`Table.seen` are, and the levels of theory.

        Raises:
            DataError: naming file, frame and remedy.
        """
        table = Table()
        for name, dataset in named:
            self._read(name, dataset, reads, table, entries, transforms)
        return table

    def _read(
        self,
        name: str,
        dataset: Any,
        reads: Reads,
        table: Table,
        entries: bool,
        transforms: bool,
    ) -> None:
        if len(dataset) == 0:
            raise DataError(f"{name}: there is no frame in it")
        steps: dict[int, list[Any]] = {}
        made: dict[int, bool] = {}
        n_labelled: Counter[str] = Counter()
        frames = shown(located_frames(dataset), f"checking the {name}", len(dataset))
        for source, number, raw in frames:
            place = place_of(name, source)
            where = f"{place}, frame {number} (from 0)"
            problem = problem_of_frame(raw)
            if problem:
                raise DataError(f"{where}: {problem}")
            fields = raw
            try:
                if id(source) not in made:
                    steps[id(source)] = needed(source)
                    first = transformed(raw, steps[id(source)])
                    _check_labels(first, reads)
                    made[id(source)] = _are_made(raw, first, reads.weighted, entries)
                if transforms or made[id(source)]:
                    fields = transformed(raw, steps[id(source)])
            except DataError as error:
                raise DataError(f"{where}: {error}") from error
            problem = reads.problem_of(fields)
            if problem:
                raise DataError(f"{where}: {problem}")
            labels = reads.present_in(fields)
            n_labelled.update(labels)
            level = self._levels.of(raw, fields) if transforms else ""
            if entries:
                structure = structure_of(raw, self._type_names)
                energy = None if level else energy_of(fields)
                table.entries.append(Entry(structure, f"the {place}", number, labels, energy))
            if transforms:
                table.seen.append(structure_of(fields, self._type_names, level))
        _check_measured(name, reads, n_labelled)


def _check_labels(fields: Fields, reads: Reads) -> None:
    """Refuse a frame without a field for a label that is read, even if that were NaN.

    Raises:
        DataError: naming the label.
    """
    for label in sorted(reads.every - fields.keys()):
        has = ", ".join(sorted(key for key in fields if fields[key].is_floating_point()))
        raise DataError(
            f"there is no '{label}', which {reads.where} reads (it has {has}); say in key_mapping "
            f"what the file calls it, or take it out of {reads.where}"
        )


def _are_made(raw: Fields, fields: Fields, labels: Collection[str], energies: bool) -> bool:
    """Whether the transforms of a dataset make labels, or energies if they are asked for."""
    if not set(labels) <= raw.keys():
        return True
    before, after = (one.get(AtomicDataDict.TOTAL_ENERGY_KEY) for one in (raw, fields))
    return energies and before is not None and after is not None and not before.equal(after)


def place_of(name: str, source: Any) -> str:
    """A data set's name in words, with the file of a part of it."""
    path = getattr(source, "file_path", getattr(source, "file_name", None))
    return name if path is None else f"{name.partition(' data')[0]} data '{path}'"


def _check_measured(name: str, reads: Reads, n_labelled: Counter[str]) -> None:
    """Refuse data in which NaN is the only label; say which labels no frame has.

    Raises:
        DataError: naming the data set.
    """
    absent = sorted(reads.weighted - n_labelled.keys())
    if absent and len(absent) == len(reads.weighted):
        raise DataError(
            f"{name}: no frame has a label that {reads.where} reads with a coefficient "
            f"({', '.join(absent)}), so that nothing is measured; give the frames labels, or take "
            "others"
        )
    if absent:
        logger.warning(
            f"PIWSL: WARNING: {name}: no frame has a label {', '.join(absent)}, so that the "
            f"weighted sum of {reads.where} is nan; take them out of it"
        )


def problem_of_frame(fields: Fields) -> str | None:
    """What is wrong with a frame's structure, in words; None if nothing is."""
    cell, pbc = fields.get(AtomicDataDict.CELL_KEY), fields.get(AtomicDataDict.PBC_KEY)
    types = fields.get(AtomicDataDict.ATOM_TYPE_KEY)
    numbers: Any = fields.get(AtomicDataDict.ATOMIC_NUMBERS_KEY, types)
    return problem_of(
        numbers,
        fields[AtomicDataDict.POSITIONS_KEY],
        None if cell is None else cell.view(3, 3),
        None if pbc is None else pbc.view(3),
    )


def structure_of(fields: Fields, type_names: Sequence[str], level: str = "") -> Structure:
    """What a frame is.

    Args:
        fields: of the frame.
        type_names: of the model; element symbols, if the frame has no atomic numbers.
        level: of theory.
    """
    cell, pbc = fields.get(AtomicDataDict.CELL_KEY), fields.get(AtomicDataDict.PBC_KEY)
    charge, spin = state_of_fields(fields)
    return Structure.of(
        numbers_of(fields, type_names).numpy(),
        fields[AtomicDataDict.POSITIONS_KEY].numpy(),
        None if cell is None else cell.numpy(),
        None if pbc is None else pbc.numpy(),
        None if charge is None else float(charge),
        None if spin is None else float(spin),
        level,
    )


def energy_of(fields: Fields) -> float | None:
    """The total energy of a frame in eV, or None."""
    energy = fields.get(AtomicDataDict.TOTAL_ENERGY_KEY)
    return None if energy is None or bool(energy.isnan().any()) else float(energy)
