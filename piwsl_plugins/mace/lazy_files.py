"""HDF5 and LMDB data, of which MACE reads a structure when it is asked for, gone through fast.

MACE 0.3.16 (mace/data/hdf5_dataset.py) takes milliseconds for a structure of HDF5: twenty and more
small datasets. Here only what is looked at is read.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import WeakValueDictionary

import h5py
import numpy as np
from h5py import h5d, h5g, h5s, h5t
from mace import data
from mace.data import lmdb_dataset
from mace.tools.fairchem_dataset import AseDBDataset
from mace.tools.run_train_utils import load_dataset_for_path
from mace.tools.scripts_utils import check_path_ase_read
from torch.utils.data import ConcatDataset

from .process import fail

#: NumPy's and HDF5's names of what numbers are in memory, by what they are in the file
_KINDS = {
    h5t.FLOAT: (np.float64, h5t.NATIVE_DOUBLE),
    h5t.INTEGER: (np.int64, h5t.NATIVE_INT64),
}
#: LMDB files that are open, by path
_OPEN: WeakValueDictionary[str, Any] = WeakValueDictionary()
_LMDB_KEYS = data.KeySpecification.from_defaults()
#: names of MACE's properties that are no labels, but tell structures apart
STATE = ("total_charge", "total_spin")
#: of the places of what HDF5 has read, in bytes
KEPT = 3 * 2**20


class _Labelled:
    """In the place of MACE's AtomicData in its datasets of HDF5: missing labels have weight 0."""

    @staticmethod
    def from_config(config: Any, **keywords: Any) -> Any:
        disregard_missing(config)
        return data.AtomicData.from_config(config, **keywords)


class _OfHead:
    """The same, of the head that is asked for (see :func:`_check_head`)."""

    @staticmethod
    def from_config(config: Any, head: str, **keywords: Any) -> Any:
        config.head = head
        return _Labelled.from_config(config, **keywords)


def disregard_missing(config: Any) -> None:
    """Give the missing labels of a configuration of MACE's weight 0.

    MACE 0.3.16 (``load_from_xyz`` in mace/data/utils.py) gives them weight 1 where the keys are
    those of ASE, "energy", "forces" and "stress", and its AtomicData fills in zeros.
    """
    for name, value in config.properties.items():
        if value is None:
            config.property_weights[name] = 0.0


def load_dataset(run: Callable[[], Any], given: dict[str, Any]) -> Any:
    """Run MACE's ``load_dataset_for_path``; missing labels of HDF5 count in no loss.

    Args:
        run: MACE's function with its arguments bound.
        given: these by name.
    """
    dataset, heads = run(), given["heads"]
    _arrange(dataset, _Labelled)
    if len(heads) > 1 and any(isinstance(part, data.HDF5Dataset) for part in _parts_of(dataset)):
        _check_head(dataset, str(given["file_path"]), heads, given["head_config"].head_name)
    return dataset


def _arrange(dataset: Any, atomic_dataclass: type) -> None:
    """Make a dataset's structures of HDF5 by a class of ours, and remember open files of LMDB."""
    for part in _parts_of(dataset):
        if isinstance(part, data.HDF5Dataset):
            part.atomic_dataclass = atomic_dataclass
        elif isinstance(part, data.LMDBDataset):
            for database in part.AseDB.dbs:
                _OPEN[os.path.realpath(str(database.filename))] = database


class _SharedFiles(AseDBDataset):
    """The files of an LMDB dataset, as they are if they are open: py-lmdb opens one only once."""

    @staticmethod
    def connect_db(address: str | Path, connect_args: dict[str, Any] | None = None) -> Any:
        """An open file."""
        found = _OPEN.get(os.path.realpath(address))
        return AseDBDataset.connect_db(address, connect_args) if found is None else found

    def __del__(self) -> None:
        """They close when nobody uses them any more."""


@contextlib.contextmanager
def _sharing_open_files() -> Iterator[None]:
    """Let MACE's datasets of LMDB that are made inside the context use files that are open."""
    module: Any = lmdb_dataset
    module.AseDBDataset = _SharedFiles
    try:
        yield
    finally:
        module.AseDBDataset = AseDBDataset


def _check_head(dataset: Any, path: str, heads: Sequence[str], head: str) -> None:
    """End the run if HDF5 data arrives as that of another head.

    MACE 0.3.16 (mace/data/hdf5_dataset.py) gives all of it to the head "Default", and if there is
    none to the last one.
    """
    got = heads[int(dataset[0].head)]
    if got != head:
        fail(
            f"{path}: MACE reads data of HDF5 as of head '{got}', not '{head}'; give the "
            "data of this head as extended XYZ or LMDB"
        )


def _parts_of(dataset: Any) -> list[Any]:
    return dataset.datasets if isinstance(dataset, ConcatDataset) else [dataset]


def parts_of_path(path: str) -> list[str]:
    """The files of LMDB data, which MACE 0.3.16 (mace/data/lmdb_dataset.py) takes "a:b" for."""
    joined = ":" in path and not Path(path).exists() and not check_path_ase_read(path)
    return path.split(":") if joined else [path]


def dataset_of(path: str, r_max: float, z_table: Any, heads: list[str], head: str) -> Any:
    """MACE's dataset of an HDF5 or LMDB file or folder, which reads a structure when asked for.

    Its structures are of the head that is asked for, and their missing labels have weight 0.

    Args:
        path: the file or folder, or LMDB files joined by colons.
        r_max: cutoff of the model in Å.
        z_table: MACE's table of the elements.
        heads: all heads of the run.
        head: the structures' one.
    """
    load = inspect.unwrap(load_dataset_for_path)  # without our hook, which checks the head
    with _sharing_open_files():
        dataset = load(path, r_max, z_table, heads, SimpleNamespace(head_name=head))
    _arrange(dataset, _OfHead)
    return dataset


class LazyFile:
    """What is in an HDF5 or LMDB file or folder, as MACE's configurations, one by one."""

    def __init__(self, path: str, read: Sequence[str] = ()) -> None:
        """
        Args:
            path: the file or folder, or LMDB files joined by colons.
            read: names of the properties that are wanted.
        """
        self._parts = _parts_of(dataset_of(path, 0.0, None, ["Default"], "Default"))
        self._names = tuple(read)

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[Any]:
        for part in self._parts:
            if isinstance(part, data.HDF5Dataset):
                with _little_kept(part.file):
                    yield from _all_of_hdf5(part, self._names)
            else:
                yield from map(_of_atoms, map(part.AseDB.get_atoms, part.AseDB.ids))


@contextlib.contextmanager
def _little_kept(file: h5py.File) -> Iterator[None]:
    """Let HDF5 keep 3 MiB of the places of what it read, not 32, which are some 300 in memory.

    With less than the names of all structures, some 20 bytes each, it reads these again and again.
    """
    usual, little = file.id.get_mdc_config(), file.id.get_mdc_config()
    usual.set_initial_size = little.set_initial_size = True
    usual.initial_size = file.id.get_mdc_size()[0]  # as it has grown: MACE may have the file open
    little.initial_size = little.min_size = little.max_size = KEPT
    file.id.set_mdc_config(little)
    try:
        yield
    finally:
        file.id.set_mdc_config(usual)


def _all_of_hdf5(dataset: Any, names: Sequence[str]) -> Iterator[Any]:
    for first in range(0, len(dataset), dataset.batch_size):
        batch = h5g.open(dataset.file.id, f"config_batch_{first // dataset.batch_size}".encode())
        for number in range(min(dataset.batch_size, len(dataset) - first)):
            yield _of_hdf5(h5g.open(batch, f"config_{number}".encode()), names)


def _of_hdf5(frame: Any, names: Iterable[str]) -> Any:
    config = data.Configuration(_read(frame, "atomic_numbers"), _read(frame, "positions"), {}, {})
    config.pbc = _read(frame, "pbc")
    if np.any(config.pbc):  # else it means nothing
        config.cell = _read(frame, "cell")
    properties = h5g.open(frame, b"properties")
    for name in names:
        with contextlib.suppress(KeyError):  # not every file has all of them
            config.properties[name] = _read(properties, name)
    if len(config.atomic_numbers) == 1:  # it may be an isolated atom
        config.config_type = h5py.Dataset(h5d.open(frame, b"config_type"))[()].decode()
    return config


def _read(group: Any, name: str) -> Any:
    """A dataset of a structure; None for the word "None", which MACE writes where there is none."""
    dataset = h5d.open(group, name.encode())
    kind = dataset.get_type()
    if kind.get_class() == h5t.STRING:
        return None
    in_memory, memory_kind = _KINDS.get(kind.get_class(), (np.int8, kind))  # else of bool
    value = np.empty(dataset.shape, in_memory)
    dataset.read(h5s.ALL, h5s.ALL, value, memory_kind)
    return value


def _of_atoms(atoms: Any) -> Any:
    """A structure of LMDB as MACE 0.3.16 (mace/data/lmdb_dataset.py) takes it."""
    results = {} if atoms.calc is None else atoms.calc.results
    for name, place in (("energy", atoms.info), ("forces", atoms.arrays), ("stress", atoms.info)):
        if name in results:
            place[f"REF_{name}"] = results[name]
    return data.config_from_atoms(atoms, key_specification=_LMDB_KEYS)
