"""The label file: written from labels or finished structures, and read back by a later run."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...core.hessian_labels import HessianLabel, read_labels, write_labels
from ...core.options import SettingsError
from ..errors import InputError
from ..labelling import Arrays, Labelled
from ..storage import written_whole


def read(path: Path) -> list[HessianLabel]:
    """The labels of a label file, or of frames that carry Hessians.

    Raises:
        InputError: if there are none, or they cannot be used.
    """
    try:
        return read_labels(path)
    except SettingsError as error:
        raise InputError(f"{path}: {error.remedy}") from error


def read_finished(path: Path) -> tuple[str, dict[str, Arrays]]:
    """``run`` and the finished structures of a file of :func:`write_finished`, by key.

    Raises:
        InputError: for a file of another kind.
    """
    try:
        with np.load(path) as file:
            run, keys, asymmetry = str(file["run"]), file["keys"], file["asymmetry"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise InputError(
            f"{path} exists and is not from a run of this command that could go on; give another "
            "--out, or --overwrite to replace it"
        ) from None
    finished = {}
    for key, label, value in zip(keys, read(path), asymmetry, strict=True):
        names = ("hessian", "displacements", "force_changes", "curvatures")
        arrays = {name: getattr(label, name) for name in names}
        finished[str(key)] = {name: array for name, array in arrays.items() if array is not None}
        finished[str(key)]["asymmetry"] = value
    return run, finished


def write_finished(path: Path, labelled: Labelled, method: str, run: str) -> None:
    """Write the labels of a run, with what a later run goes on from.

    Args:
        path: name of the file.
        labelled: structures with the arrays of :class:`.measurement.Measurement`.
        method: where they come from, in words.
        run: calculator and settings as JSON.
    """
    labels = []
    for frame, arrays in zip(labelled.frames, labelled.arrays, strict=True):
        atoms = frame.atoms
        known = {name: array for name, array in arrays.items() if name != "asymmetry"}
        labels.append(
            HessianLabel(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, **known)
        )
    more = {
        "run": np.array(run),
        "keys": np.array([frame.key for frame in labelled.frames]),
        "asymmetry": np.array([a.get("asymmetry", np.nan) for a in labelled.arrays], dtype=float),
    }
    write(path, labels, method, more)


def write(
    path: Path,
    labels: Sequence[HessianLabel],
    method: str,
    more: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write labels, and further arrays that readers of labels pass over."""
    with written_whole(path) as partial:
        write_labels(partial, labels, method)
        with zipfile.ZipFile(partial, "a") as archive:
            for name, array in (more or {}).items():
                with archive.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array(file, array)
