"""Training curves from MACE's results files, NequIP's CSV logger, and Weights & Biases."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ....errors import InputError
from .csv_tables import read_table
from .points import CurvePoint
from .wandb_exports import histories, refuse_own_logs


@dataclasses.dataclass(frozen=True)
class Curve:
    """What is plotted under one name: its key, words and unit."""

    key: str
    label: str
    unit: str


#: PIWSL's terms: in words, the unit of the residual, and the factor to it from that of the logs
_TERMS = {
    "pitc": ("PITC", "meV/atom", 1000.0),
    "pisc": ("PISC", "meV/atom", 1000.0),
    "hessian": ("Hessian", "eV/Å²", 1.0),
}
_UNIT = "framework's unit"

CURVES: tuple[Curve, ...] = (
    Curve("train_loss", "Training loss", _UNIT),
    Curve("valid_loss", "Validation loss", _UNIT),
    Curve("valid_energy_rmse", "Validation energy RMSE", "meV/atom"),
    Curve("valid_force_rmse", "Validation force RMSE", "meV/Å"),
    Curve("force_slope", "Validation force slope (< 1: too soft)", ""),
    Curve("valid_hessian_rms", "Error of held-out Hessians, RMS", "eV/Å²"),
    Curve("base_loss", "Base loss", _UNIT),
    Curve("pool_loss", "Loss of the pool", _UNIT),
    *(Curve(f"{key}_weighted", f"{t} term × its weight", _UNIT) for key, (t, *_) in _TERMS.items()),
    *(Curve(key, f"{t} penalty, unweighted", _UNIT) for key, (t, *_) in _TERMS.items()),
    *(Curve(f"{key}_residual", f"{t} residual, RMS", u) for key, (t, u, _) in _TERMS.items()),
)

#: for each curve NequIP's column name, and the factor to the curve's unit
_NEQUIP = (
    ("train_loss", r"^train_loss\w*/weighted_sum$", 1.0),
    ("valid_loss", r"^val\d*\w*/(weighted_sum|loss)$", 1.0),
    ("valid_energy_rmse", r"^val\d*\w*/per_atom_energy_rmse$", 1000.0),
    ("valid_force_rmse", r"^val\d*\w*/forces_rmse$", 1000.0),
    ("force_slope", r"^val_epoch/force_slope$", 1.0),
    ("valid_hessian_rms", r"^val_epoch/hessian_rms$", 1.0),
    *((term, rf"^train_loss\w*/(\w+_)?{term}\w*$", 1.0) for term in _TERMS),
)

#: the same for what MACE logs to Weights & Biases, the head of the first three before a dot
_MACE_METRICS = (
    ("valid_loss", "valid_loss", 1.0),
    ("valid_energy_rmse", "valid_rmse_e_per_atom", 1000.0),
    ("valid_force_rmse", "valid_rmse_f", 1000.0),
    ("force_slope", "piwsl/force_slope", 1.0),
    ("valid_hessian_rms", "piwsl/hessian_valid_rms", 1.0),
    ("base_loss", "piwsl/base_loss", 1.0),
    ("pool_loss", "piwsl/pool_loss", 1.0),
    *((f"{term}_weighted", f"piwsl/{term}", 1.0) for term in _TERMS),
    *((f"{term}_residual", f"piwsl/{term}_rms", f) for term, (*_, f) in _TERMS.items()),
)


def find(paths: Sequence[Path]) -> list[Path]:
    """The log files named, and those found in folders: ``*_train.txt`` and ``metrics.csv``.

    Raises:
        InputError: for a path that does not exist, a folder without log files, and
            ``run-*.wandb``.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted([*path.rglob("*_train.txt"), *path.rglob("metrics.csv")])
            if not inside:
                refuse_own_logs(path)
                raise InputError(
                    f"{path}: holds neither results of MACE (*_train.txt) nor of NequIP's CSV "
                    "logger (metrics.csv)"
                )
            found += inside
        elif path.is_file():
            refuse_own_logs(path)
            found.append(path)
        else:
            raise InputError(f"{path}: there is no such file or folder")
    return found


def read(paths: Sequence[Path]) -> list[CurvePoint]:
    """The curves of all runs; values of one epoch are averaged.

    Raises:
        InputError: for a file that is not a training log, naming the line.
    """
    points: list[CurvePoint] = []
    for name, path in zip(_names(paths), paths, strict=True):
        values: dict[tuple[str, str, str, int], list[float]] = {}
        for run, epoch, curve, head, value in (
            _read_csv(path) if path.suffix == ".csv" else _read_mace(path)
        ):
            values.setdefault((run, curve, head, epoch), []).append(value)
        if not values:
            raise InputError(f"{path}: holds no training record")
        for (run, curve, head, epoch), several in sorted(values.items()):
            whole = run if len(paths) == 1 else f"{name}/{run}"
            points.append(CurvePoint(whole if run else name, epoch, curve, head, _mean(several)))
    return points


def _mean(values: Sequence[float]) -> float:
    """Of those that are numbers."""
    numbers = [value for value in values if not math.isnan(value)]
    return math.fsum(numbers) / len(numbers) if numbers else math.nan


def _names(paths: Sequence[Path]) -> list[str]:
    """Short names: of each path the parts, from the end, that tell the runs apart."""
    parts = [re.sub(r"(_train)?\.txt$|\.csv$", "", path.as_posix()).split("/") for path in paths]
    if len(parts) == 1:
        return [parts[0][-1]]
    names = [""] * len(parts)
    for depth in range(1, max(map(len, parts)) + 1):
        level = [part[-depth] if depth <= len(part) else "" for part in parts]
        if len(set(level)) > 1:
            names = [f"{p}/{name}".strip("/") for p, name in zip(level, names, strict=True)]
        if len(set(names)) == len(names):
            return names
    raise InputError(f"{paths[0]}: a log file is given twice")


#: run in the file ("" where it holds one), epochs completed, curve, head, value
_Record = tuple[str, int, str, str, float]


def _read_mace(path: Path) -> Iterator[_Record]:
    text = path.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            done = 0 if record["epoch"] is None else int(record["epoch"]) + 1
            values = [(c, float(v)) for c, v in _mace_values(record["mode"], record)]
            head = str(record.get("head", ""))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} line {number}: not a record of MACE's results file"
            ) from error
        for curve, value in values:
            yield "", done, curve, "" if head == "Default" else head, value


def _mace_values(mode: str, record: dict[str, Any]) -> Iterator[tuple[str, float]]:
    if mode == "opt":
        yield "train_loss", record["loss"]
    elif mode == "eval":
        yield "valid_loss", record["loss"]
        for curve, key in (
            ("valid_energy_rmse", "rmse_e_per_atom"),
            ("valid_force_rmse", "rmse_f"),
        ):
            if record.get(key) is not None:
                yield curve, 1000 * record[key]
    elif mode == "piwsl_validation":
        for curve, key in (
            ("force_slope", "force_slope"),
            ("valid_hessian_rms", "hessian_valid_rms"),
        ):
            if key in record:
                yield curve, record[key]
    elif mode == "piwsl":
        for loss in ("base_loss", "pool_loss"):
            if loss in record:
                yield loss, record[loss]
        for term, (*_, factor) in _TERMS.items():
            if term in record:
                yield f"{term}_weighted", record[term]
                yield f"{term}_residual", factor * record[f"{term}_rms"]


def _read_csv(path: Path) -> Iterator[_Record]:
    for run, history in histories(path, read_table(path)).items():
        for curve, head, metric, factor in _curves_in(history.metrics):
            for row in history.rows:
                if metric not in row.metrics:
                    continue
                text = row.metrics[metric]
                try:
                    yield run, row.epoch + 1, curve, head, factor * float(text)
                except ValueError as error:
                    raise InputError(
                        f"{path} line {row.line}: {text} is no value of {metric}"
                    ) from error


def _curves_in(columns: Sequence[str]) -> Iterator[tuple[str, str, str, float]]:
    """Curve, head, column and factor of what NequIP or MACE logged."""
    for curve, pattern, factor in _NEQUIP:
        matching = [name for name in columns if re.match(pattern, name)]
        # the epoch's own average, where it is logged beside the steps
        matching = [name for name in matching if "_epoch" in name] or matching
        for column in matching[:1]:
            yield curve, "", column, factor
    for curve, metric, factor in _MACE_METRICS:
        for column in columns:
            head, _, name = column.rpartition(".")
            if name == metric:
                yield curve, "" if head == "Default" else head, column, factor
