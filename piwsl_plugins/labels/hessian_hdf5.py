"""Hessian labels in HDF5 files, for more of them than memory holds.

Attributes ``format``, ``method`` (text) and ``n_labels``; of each part of labels a flat dataset
with the values of all labels one after the other, such as ``hessian``, and where they begin:
label i has ``hessian[hessian_offsets[i] : hessian_offsets[i + 1]]``, nothing if it lacks the part.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..frames.structure import Structure
from .hessian_labels import FORMAT, PARTS, Array, HessianLabel

#: the latest labels that a process keeps, in bytes
CACHE = 2**28
#: what is read or written at a time, in bytes
BLOCK = 2**24

_TYPES: dict[str, Any] = {"numbers": np.int64, "atoms": np.int64, "pbc": np.bool_}
#: in the file, which has no bool: h5py's stands for an enumeration, and is slow
_STORED = _TYPES | {"pbc": np.uint8}
Offsets = NDArray[np.int64]


class LabelFile(Sequence[HessianLabel]):
    """The labels of a file, each of which is read when it is asked for.

    Each process opens the file for itself and keeps the latest 256 MiB of labels.
    """

    def __init__(self, path: Path | str, option: str) -> None:
        """
        Args:
            path: the file.
            option: name of the option that gave it.

        Raises:
            SettingsError: naming the option, for a file of another kind or one that is damaged.
        """
        self.path, self.option = str(path), option
        self._forget()
        try:
            self._open()
            attributes = self._file.attrs
            if str(attributes.get("format")) != FORMAT:
                raise self._refused(f"this is not a file of the format '{FORMAT}'")
            self._n_labels = int(attributes["n_labels"])
            self._offsets: dict[str, Offsets] = {
                name: self._file[f"{name}_offsets"][()] for name in self._datasets
            }
        except SettingsError:
            raise
        except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise self._unreadable(error) from error
        for name, offsets in self._offsets.items():
            whole = len(offsets) == self._n_labels + 1 and (np.diff(offsets) >= 0).all()
            if not whole or (offsets[0], offsets[-1]) != (0, len(self._datasets[name])):
                raise self._refused(f"'{name}' and '{name}_offsets' do not agree; make it anew")

    def _forget(self) -> None:
        self._process: int | None = None
        self._file: Any = None
        self._datasets: dict[str, Any] = {}
        self._latest: OrderedDict[int, HessianLabel] = OrderedDict()
        self._n_bytes = 0

    def __getstate__(self) -> dict[str, Any]:
        kept = ("path", "option", "_n_labels", "_offsets")
        return {name: getattr(self, name) for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def _open(self) -> None:
        """Open the file once in each process: what a fork takes along shares its state."""
        import h5py

        if self._process == os.getpid():
            return
        if self._file is not None:
            self._file.close()
        self._file, self._process = h5py.File(self.path, "r"), os.getpid()
        self._datasets = {name: self._file[name] for name in PARTS if name in self._file}

    def __len__(self) -> int:
        return self._n_labels

    @overload
    def __getitem__(self, index: int) -> HessianLabel: ...
    @overload
    def __getitem__(self, index: slice) -> list[HessianLabel]: ...
    def __getitem__(self, index: int | slice) -> HessianLabel | list[HessianLabel]:
        if isinstance(index, slice):
            return [self[one] for one in range(len(self))[index]]
        index = range(len(self))[index]
        if index in self._latest:
            self._latest.move_to_end(index)
            return self._latest[index]
        (label,) = self._read(index, index + 1, PARTS)
        self._latest[index] = label
        self._n_bytes += _size(label)
        while self._n_bytes > CACHE and len(self._latest) > 1:
            self._n_bytes -= _size(self._latest.popitem(last=False)[1])
        return label

    def __iter__(self) -> Iterator[HessianLabel]:
        """All labels in order, in blocks and not kept."""
        for block in _blocks(sum(self._offsets.values(), np.zeros(1, dtype=np.int64))):
            yield from self._read(*block, PARTS)

    def structures(self) -> Iterator[Structure]:
        """What was labelled, without reading more."""
        parts = ("numbers", "positions", "cell", "pbc", "charge", "spin")
        for block in _blocks(self._offsets["positions"]):
            for label in self._read(*block, parts):
                yield label.structure

    def probes(self) -> Iterator[Array]:
        """Displacements of the labels that have probes, without reading more."""
        if "displacements" in self._offsets:
            for block in _blocks(self._offsets["displacements"]):
                for label in self._read(*block, ("numbers", "displacements")):
                    if label.displacements is not None:
                        yield label.displacements

    def _read(self, first: int, last: int, parts: Collection[str]) -> list[HessianLabel]:
        labels: list[dict[str, Any]] = [{} for _ in range(first, last)]
        for name in (name for name in self._offsets if name in parts):
            offsets = self._offsets[name][first : last + 1]
            try:
                self._open()
                values = self._datasets[name][offsets[0] : offsets[-1]]
            except (OSError, KeyError, ValueError) as error:
                raise self._unreadable(error) from error
            values = values.astype(_TYPES.get(name, np.float64), copy=False)
            starts = (offsets - offsets[0]).tolist()
            for label, start, end in zip(labels, starts, starts[1:]):
                if end > start:
                    label[name] = values[start:end]
        return [_label(label) for label in labels]

    def _unreadable(self, error: Exception) -> SettingsError:
        return self._refused(f"it cannot be read ({str(error) or type(error).__name__})")

    def _refused(self, reason: str) -> SettingsError:
        return SettingsError(self.option, self.path, reason)


def _label(flat: dict[str, Any]) -> HessianLabel:
    """A label from its flat parts; one that cannot have its shape stays flat, and is refused."""
    n = len(flat.get("numbers", ()))
    n_rows = 3 * len(flat.get("atoms", range(n)))
    shapes = {
        "positions": (n, 3),
        "cell": (3, 3),
        "charge": (),
        "spin": (),
        "hessian": (n_rows, -1),
        "displacements": (-1, n, 3),
        "force_changes": (-1, n, 3),
    }
    for name in shapes.keys() & flat.keys():
        row = abs(int(np.prod(shapes[name])))
        if row and len(flat[name]) % row == 0 and (-1 in shapes[name] or len(flat[name]) == row):
            flat[name] = flat[name].reshape(shapes[name])
    lacking = {"numbers": np.zeros(0, dtype=np.int64), "positions": np.zeros((0, 3))}
    return HessianLabel(**{**lacking, **flat})


def _size(label: HessianLabel) -> int:
    return sum(np.asarray(value).nbytes for value in _values(label) if value is not None)


def _blocks(offsets: Offsets) -> Iterator[tuple[int, int]]:
    """First and last (not included) label of blocks of :data:`BLOCK` bytes, at least of one."""
    first = 0
    while first < len(offsets) - 1:
        end = int(np.searchsorted(offsets, offsets[first] + BLOCK // 8, side="right")) - 1
        last = min(max(end, first + 1), len(offsets) - 1)
        yield first, last
        first = last


def write(path: Path | str, labels: Sequence[HessianLabel], method: str) -> None:
    """Write labels, which are gone through twice and may be those of another file.

    Args:
        path: name of the file, as it is.
        labels: in the order of the frames.
        method: where they come from, in words.
    """
    import h5py

    sizes = np.zeros((len(labels) + 1, len(PARTS)), dtype=np.int64)
    for index, label in enumerate(labels, start=1):
        sizes[index] = [0 if value is None else np.size(value) for value in _values(label)]
    offsets = sizes.cumsum(axis=0)
    given = iter(labels)
    with h5py.File(path, "w") as file:
        file.attrs.update(format=FORMAT, method=method, n_labels=len(labels))
        for column, name in enumerate(PARTS):
            if offsets[-1, column]:
                file[f"{name}_offsets"] = offsets[:, column]
                file.create_dataset(name, (offsets[-1, column],), _STORED.get(name, np.float64))
        for first, last in _blocks(offsets.sum(axis=1)):
            rows = [_values(next(given)) for _ in range(first, last)]
            for column, name in enumerate(PARTS):
                begin, end = offsets[first, column], offsets[last, column]
                if end > begin:
                    flat = [np.ravel(row[column]) for row in rows if row[column] is not None]
                    file[name][begin:end] = np.concatenate(flat)


def _values(label: HessianLabel) -> list[Any]:
    return [getattr(label, name) for name in PARTS]
