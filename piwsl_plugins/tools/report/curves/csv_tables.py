"""Tables of CSV files, as trainers and Weights & Biases write them."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

from ....errors import InputError, reason_of

#: how programs write that there is no value
_MISSING = frozenset({"", "nan", "na", "n/a", "<na>", "null", "none"})


@dataclasses.dataclass(frozen=True)
class CsvRow:
    """A line of the file: its number, and the text of each column, without those that are empty."""

    line: int
    cells: dict[str, str]


@dataclasses.dataclass(frozen=True)
class CsvTable:
    """The columns, in order, and the rows."""

    columns: list[str]
    rows: list[CsvRow]


def read_table(path: Path) -> CsvTable:
    """The table of a CSV file.

    Raises:
        InputError: for a file that is none, a line with more cells than there are columns, and two
            columns of one name.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, cells) for cells in reader if cells]
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({reason_of(error)})") from error
    if not lines:
        raise InputError(f"{path}: cannot be read (it is empty)")
    (_, columns), *rest = lines
    twice = next((column for column in columns if columns.count(column) > 1), None)
    if twice is not None:
        raise InputError(
            f"{path}: two columns are called {twice!r}; give the runs names of their own, and "
            "export again"
        )
    for line, cells in rest:
        if len(cells) > len(columns):
            raise InputError(
                f"{path} line {line}: {len(cells)} cells, and {len(columns)} columns have a name"
            )
    return CsvTable(columns, [CsvRow(line, _present(columns, cells)) for line, cells in rest])


def _present(columns: list[str], cells: list[str]) -> dict[str, str]:
    # a line that is cut off lacks its last cells
    return {
        column: text
        for column, text in zip(columns, cells, strict=False)
        if text.strip().lower() not in _MISSING
    }
