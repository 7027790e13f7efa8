"""HDF5 and LMDB data, of which MACE reads a structure when it is asked for, gone through fast.

MACE 0.3.16 (mace/data/hdf5_dataset.py) takes milliseconds for a structure of HDF5: twenty and more
small datasets. Here only what is looked at is read.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any
from weakref import WeakValueDictionary

import h5py
import numpy as np
from h5py import h5d, h5g, h5s, h5t
from mace import data
from mace.tools.run_train_utils import load_dataset_for_path
from torch.utils.data import ConcatDataset

from ..core.structures import label_of
from . import arguments

#: NumPy's and HDF5's names of what numbers are in memory, by what they are in the file
_KINDS = {
    h5t.FLOAT: (np.float64, h5t.NATIVE_DOUBLE),
    h5t.INTEGER: (np.int64, h5t.NATIVE_INT64),
}
#: LMDB datasets in use, by path
_OPEN: WeakValueDictionary[str, Any] = WeakValueDictionary()
LABELS = ("energy", "forces", "stress", "virials", "dipole")
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
    path, dataset = str(given["file_path"]), run()
    _arrange(dataset, path, _Labelled)
    heads = given["heads"]
    if len(heads) > 1 and any(isinstance(part, data.HDF5Dataset) for part in _parts_of(dataset)):
        _check_head(dataset, path, heads, given["head_config"].head_name)
    return dataset


def _arrange(dataset: Any, path: str, atomic_dataclass: type) -> None:
    """Make a dataset's structures of HDF5 by a class of ours, and remember it if it is of LMDB.

    py-lmdb opens a file once in a process, so that what MACE has opened must be read through its
    dataset.
    """
    if isinstance(dataset, data.LMDBDataset):
        _OPEN[path] = dataset
    for part in _parts_of(dataset):
        if isinstance(part, data.HDF5Dataset):
            part.atomic_dataclass = atomic_dataclass


def _check_head(dataset: Any, path: str, heads: Sequence[str], head: str) -> None:
    """End the run if HDF5 data arrives as that of another head.

    MACE 0.3.16 (mace/data/hdf5_dataset.py) gives all of it to the head "Default", and if there is
    none to the last one.
    """
    got = heads[int(dataset[0].head)]
    if got != head:
        arguments.fail(
            f"{path}: MACE reads data of HDF5 as of head '{got}', not '{head}'; give the "
            "data of this head as extended XYZ or LMDB"
        )


def _parts_of(dataset: Any) -> list[Any]:
    return dataset.datasets if isinstance(dataset, ConcatDataset) else [dataset]


def dataset_of(path: str, r_max: float, z_table: Any, heads: list[str], head: str) -> Any:
    """MACE's dataset of an HDF5 or LMDB file or folder, which reads a structure when asked for.

    Its structures are of the head that is asked for, and their missing labels have weight 0.

    Args:
        path: the file or folder.
        r_max: cutoff of the model in Å.
        z_table: MACE's table of the elements.
        heads: all heads of the run.
        head: the structures' one.
    """
    load = inspect.unwrap(load_dataset_for_path)  # without our hook, which checks the head
    dataset = load(path, r_max, z_table, heads, SimpleNamespace(head_name=head))
    _arrange(dataset, path, _OfHead)
    return dataset


class LazyFile:
    """What is in an HDF5 or LMDB file or folder, as MACE's configurations, one by one."""

    def __init__(self, path: str, labels: bool = True) -> None:
        """
        Args:
            path: the file or folder.
            labels: whether :data:`LABELS`, cell and pbc are wanted too.
        """
        dataset = _OPEN.get(path)
        if dataset is None:
            dataset = dataset_of(path, 0.0, None, ["Default"], "Default")
        self._parts = _parts_of(dataset)
        self._labels = labels

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[Any]:
        for part in self._parts:
            if isinstance(part, data.HDF5Dataset):
                with _little_kept(part.file):
                    yield from (_of_hdf5(part, index, self._labels) for index in range(len(part)))
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


def _of_hdf5(dataset: Any, index: int, labels: bool) -> Any:
    batch, number = divmod(index, dataset.batch_size)
    frame = h5g.open(dataset.file.id, f"config_batch_{batch}/config_{number}".encode())
    config = data.Configuration(_read(frame, "atomic_numbers"), _read(frame, "positions"), {}, {})
    if labels:
        properties = h5g.open(frame, b"properties")
        for name in LABELS:
            with contextlib.suppress(KeyError):  # not every file has all of them
                config.properties[name] = _read(properties, name)
        config.cell, config.pbc = _read(frame, "cell"), _read(frame, "pbc")
    if labels and len(config.atomic_numbers) == 1:  # it may be an isolated atom
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
    return data.Configuration(
        atomic_numbers=atoms.numbers,
        positions=atoms.positions,
        properties={name: label_of(atoms, name) for name in LABELS},
        property_weights={},
        cell=atoms.cell.array,
        pbc=atoms.pbc,
    )
