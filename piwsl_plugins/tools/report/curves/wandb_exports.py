"""CSV that Weights & Biases exports: charts of one metric or more, and histories of a run."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pandas as pd

from ....errors import InputError

#: what to do with a log that cannot be read itself
REMEDY = (
    "export a chart as CSV (x-axis: epoch, with MACE HEAD.epoch), or give what the trainer writes "
    "beside it: MACE's results/*_train.txt, metrics.csv of NequIP's CSVLogger"
)
#: the chart's column of a metric, and those of its extremes, which are drawn as a band
_METRIC = re.compile(r"^(?P<run>.+) - (?P<metric>\S+?)(?P<extreme>__MIN|__MAX)?$")
_EPOCH = re.compile(r"^(.+\.)?epoch$")


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


def histories(path: Path, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The runs of an exported CSV.

    Args:
        path: the file, to name in messages.
        table: what it holds.

    Returns:
        for each run, "" where the file is of one run, a table with a column for each metric and
        the column ``epoch`` (0 for the first), without rows that have none.

    Raises:
        InputError: for a table of runs, runs of one name, and rows without epochs.
    """
    columns = [(column, _METRIC.match(column)) for column in table.columns]
    metrics = [(column, found) for column, found in columns if found]
    if not metrics:
        if "Name" in table:
            raise InputError(
                f"{path}: a table of runs, as Weights & Biases exports it, holds last values and "
                f"no curves; {REMEDY}"
            )
        return {"": _with_epochs(path, table)}
    _refuse_namesakes(path)
    axis = str(table.columns[0])
    parts: dict[str, dict[str, pd.Series]] = {}
    for column, found in metrics:
        if not found["extreme"]:
            run = parts.setdefault(found["run"], {axis: table[axis]})
            run[found["metric"]] = table[column]
    return {run: _with_epochs(path, pd.DataFrame(part)) for run, part in parts.items()}


def _with_epochs(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The rows with an epoch, which with MACE is logged for each head."""
    named = sorted((str(c) for c in table.columns if _EPOCH.match(str(c))), key=len)
    if not named:
        raise InputError(
            f"{path}: no column 'epoch' beside {table.columns[0]!r}, so that its rows belong to no "
            f"epoch; from Weights & Biases, {REMEDY}"
        )
    epochs = pd.to_numeric(table[named[0]], errors="coerce")
    for name in named[1:]:
        epochs = epochs.fillna(pd.to_numeric(table[name], errors="coerce"))
    given = table[named].notna().any(axis=1)
    wrong = given & (epochs.isna() | (epochs % 1 != 0))
    if wrong.any():
        line = int(wrong.to_numpy().argmax())
        raise InputError(
            f"{path} line {line + 2}: {table[named].iloc[line].tolist()[0]} is no number of an "
            "epoch; export without smoothing and grouping"
        )
    return table.drop(columns=named).assign(epoch=epochs)[given]


def _refuse_namesakes(path: Path) -> None:
    """Two runs of one name have the same columns, which pandas would rename."""
    with path.open(encoding="utf-8", newline="") as file:
        header = next(csv.reader(file))
    twice = next((column for column in header if header.count(column) > 1), None)
    if twice is not None:
        raise InputError(
            f"{path}: two columns are called {twice!r}; give the runs names of their own, and "
            "export again"
        )
