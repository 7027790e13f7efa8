"""CSV that Weights & Biases exports: charts of one metric or more, and histories of a run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ....errors import InputError
from .csv_tables import CsvTable

#: what to do with a log that cannot be read itself
REMEDY = (
    "export a chart as CSV (x-axis: epoch, with MACE HEAD.epoch), or give what the trainer writes "
    "beside it: MACE's results/*_train.txt, metrics.csv of NequIP's CSVLogger"
)
#: the chart's column of a metric, and those of its extremes, which are drawn as a band
_METRIC = re.compile(r"^(?P<run>.+) - (?P<metric>\S+?)(?P<extreme>__MIN|__MAX)?$")
_EPOCH = re.compile(r"^(.+\.)?epoch$")


@dataclasses.dataclass(frozen=True)
class LoggedRow:
    """What was logged at once: line of the file, epoch (0 for the first), text of each metric."""

    line: int
    epoch: int
    metrics: dict[str, str]


@dataclasses.dataclass(frozen=True)
class History:
    """The metrics of one run, and its rows."""

    metrics: list[str]
    rows: list[LoggedRow]


def refuse_own_logs(path: Path) -> None:
    """Refuse ``run-*.wandb``, which wandb 0.31 can send to the server, but no longer read.

    Raises:
        InputError: with the remedy.
    """
    inside = sorted(path.rglob("*.wandb")) if path.is_dir() else [path]
    for file in inside:
        if file.suffix == ".wandb":
            raise InputError(
                f"{file}: Weights & Biases has no reader of its own files; send it with wandb sync "
                f"and {REMEDY}"
            )


def histories(path: Path, table: CsvTable) -> dict[str, History]:
    """The runs of an exported CSV, or of NequIP's CSV logger.

    Args:
        path: the file, to name in messages.
        table: what it holds.

    Returns:
        the history of each run, "" where the file is of one run, without rows that have no epoch.

    Raises:
        InputError: for a table of runs, and rows without epochs.
    """
    matches = [(column, _METRIC.match(column)) for column in table.columns]
    metrics = [(column, match) for column, match in matches if match is not None]
    if not metrics:
        if "Name" in table.columns:
            raise InputError(
                f"{path}: a table of runs, as Weights & Biases exports it, holds last values and "
                f"no curves; {REMEDY}"
            )
        return {"": _history(path, table, {column: column for column in table.columns})}
    axis = table.columns[0]
    #: for each run the column of each metric
    runs: dict[str, dict[str, str]] = {}
    for column, match in metrics:
        if not match["extreme"]:
            runs.setdefault(match["run"], {axis: axis})[match["metric"]] = column
    return {run: _history(path, table, columns) for run, columns in runs.items()}


def _history(path: Path, table: CsvTable, columns: Mapping[str, str]) -> History:
    """The rows with an epoch, which with MACE is logged for each head."""
    named = sorted((name for name in columns if _EPOCH.match(name)), key=len)
    if not named:
        raise InputError(
            f"{path}: no column 'epoch' beside {table.columns[0]!r}, so that its rows belong to no "
            f"epoch; from Weights & Biases, {REMEDY}"
        )
    metrics = [name for name in columns if name not in named]
    rows = []
    for row in table.rows:
        given = [row.cells[columns[name]] for name in named if columns[name] in row.cells]
        if not given:
            continue
        epoch = next(_numbers(given), None)
        if epoch is None or epoch % 1 != 0:
            raise InputError(
                f"{path} line {row.line}: {given[0]} is no number of an epoch; export without "
                "smoothing and grouping"
            )
        texts = {n: row.cells[columns[n]] for n in metrics if columns[n] in row.cells}
        rows.append(LoggedRow(row.line, int(epoch), texts))
    return History(metrics, rows)


def _numbers(texts: list[str]) -> Iterator[float]:
    for text in texts:
        try:
            yield float(text)
        except ValueError:
            continue
