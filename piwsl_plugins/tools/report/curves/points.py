"""The values of training curves, and how they are written."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Iterable, Sequence


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """One value of one curve.

    Attributes:
        run: name of the run.
        epoch: epochs completed, 0 before training.
        curve: a key of :data:`.logs.CURVES`.
        head: "" unless it is one of several.
        value: in the curve's unit.
    """

    run: str
    epoch: int
    curve: str
    head: str
    value: float


def as_csv(points: Iterable[CurvePoint]) -> str:
    """All values, a line each; one that is not a number is left out."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in dataclasses.fields(CurvePoint)])
    for point in points:
        value = "" if math.isnan(point.value) else point.value
        writer.writerow([point.run, point.epoch, point.curve, point.head, value])
    return text.getvalue()


def last_values(points: Sequence[CurvePoint]) -> str:
    """A table of every curve at the end of every run; runs are columns."""
    last: dict[tuple[str, str], dict[str, float]] = {}
    for point in sorted(points, key=lambda point: point.epoch):
        values = last.setdefault((point.curve, point.head), {})
        if not math.isnan(point.value):
            values[point.run] = point.value
    runs = sorted({point.run for point in points})
    rows = [
        (curve, head, *(f"{of_runs[run]:.4g}" if run in of_runs else "–" for run in runs))
        for (curve, head), of_runs in sorted(last.items())
    ]
    header = [("run", "", *(f" {run}" for run in runs)), ("curve", "head", *("" for _ in runs))]
    widths = [max(map(len, column)) for column in zip(*header, *rows, strict=True)]
    # a curve of several heads is named once
    shown = [
        ("" if n and row[0] == rows[n - 1][0] else row[0], *row[1:]) for n, row in enumerate(rows)
    ]
    return "\n".join(_line(cells, widths) for cells in (*header, *shown))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = zip(("<", "<", *">" * (len(cells) - 2)), cells, widths, strict=True)
    return " ".join(f"{cell:{side}{width}}" for side, cell, width in aligned)
