"""The label file: written from labels or finished structures, and read back by a later run."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...errors import InputError, SettingsError
from ...labels.hessian_labels import FORMAT, HDF5, HessianLabel, read_labels, write_labels
from ..labelling import Labelled
from ..runs import Arrays
from ..storage import written_whole


def read(path: Path) -> Sequence[HessianLabel]:
    """The labels of a label file, or of frames that carry Hessians.

    Raises:
        InputError: if there are none, or they cannot be used.
    """
    try:
        return read_labels(path)
    except SettingsError as error:
        raise InputError(f"{path}: {error.remedy}") from error


def is_label_file(path: Path) -> bool:
    """Whether this file was written by :func:`write`."""
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path) as file:
                return bool(file.attrs.get("format") == FORMAT)
        if not zipfile.is_zipfile(path):
            return False
        (form,) = _arrays(path, ("format",))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return False
    return _text(form) == FORMAT


def read_finished(path: Path) -> tuple[str, dict[str, Arrays]]:
    """Settings and the finished structures of a file of :func:`write_finished`, by key.

    Raises:
        InputError: for a file of another kind.
    """
    try:
        run, keys, asymmetry = _arrays(path, ("run", "keys", "asymmetry"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise InputError(
            f"{path} exists and is not from a run of this command that could go on; give another "
            "--out, or --overwrite to replace it"
        ) from None
    finished = {}
    for key, label, value in zip(keys, read(path), asymmetry, strict=True):
        names = ("hessian", "displacements", "force_changes", "curvatures")
        arrays = {name: getattr(label, name) for name in names}
        finished[_text(key)] = {name: array for name, array in arrays.items() if array is not None}
        finished[_text(key)]["asymmetry"] = value
    return _text(run), finished


def largest_asymmetry(path: Path) -> float | None:
    """Largest difference of elements before symmetrising in eV/Å², if the file knows it."""
    try:
        (asymmetry,) = _arrays(path, ("asymmetry",))
    except KeyError:
        return None
    return float(np.nanmax(asymmetry))


def _arrays(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    with h5py.File(path) if path.suffix in HDF5 else np.load(path) as file:
        return [file[name][()] for name in names]


def _text(value: object) -> str:
    """A string of an npz file, or of an HDF5 file, where it is of bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def write_finished(path: Path, labelled: Labelled, method: str, settings: str) -> None:
    """Write the labels of a run, with what a later run goes on from.

    Args:
        path: name of the file.
        labelled: structures with the arrays of :class:`.measurement.Measurement`.
        method: where they come from, in words.
        settings: calculator and settings as JSON.
    """
    labels = []
    for frame, arrays in zip(labelled.frames, labelled.arrays, strict=True):
        atoms = frame.atoms
        known: dict[str, Any] = {
            name: array for name, array in arrays.items() if name != "asymmetry"
        }
        known |= {"charge": frame.structure.charge, "spin": frame.structure.spin}
        labels.append(
            HessianLabel(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, **known)
        )
    more = {
        "run": np.array(settings),
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
    hdf5 = path.suffix in HDF5
    with written_whole(path) as partial:
        write_labels(partial, labels, method, hdf5)
        if hdf5:
            with h5py.File(partial, "a") as file:
                for name, array in (more or {}).items():
                    file[name] = np.char.encode(array) if array.dtype.kind == "U" else array
            return
        with zipfile.ZipFile(partial, "a") as archive:
            for name, array in (more or {}).items():
                with archive.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array(file, array)
