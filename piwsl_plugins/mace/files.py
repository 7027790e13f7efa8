"""Data files as MACE reads them: what is wrong in one, and those read structure by structure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from mace import data
from mace.tools.run_train_utils import load_dataset_for_path
from mace.tools.scripts_utils import check_path_ase_read
from torch.utils.data import ConcatDataset

from ..core.frame_checks import problem_of
from ..core.options import SettingsError
from ..core.structures import label_of, read_structures
from . import arguments

#: MACE's options that name data
TRAINING = ("train_file", "pt_train_file")
HELD_OUT = ("valid_file", "test_file", "test_dir", "pt_valid_file")
_LABELS = ("energy", "forces", "stress", "virials", "dipole")


def load_checked(run: Callable[[], Any], given: dict[str, Any]) -> Any:
    """Run MACE's ``load_from_xyz``; a file that cannot be right ends the run with one message.

    Args:
        run: MACE's function with its arguments bound.
        given: these by name.
    """
    path, keys = given["file_path"], given["key_specification"]
    names = {**keys.info_keys, **keys.arrays_keys}
    try:
        atomic_energies, configs = run()
        if np.isfinite(list(atomic_energies.values())).all() and not any(map(_problem, configs)):
            return atomic_energies, configs
        reason = "it cannot be used"
    except Exception as error:  # ASE's readers raise errors of every kind
        reason = str(error) or type(error).__name__
    try:  # once more, to say where it is; MACE leaves frames out
        read_structures(path, "train_file", {n: names[n] for n in _LABELS if n in names})
    except ValueError as error:
        reason = error.remedy if isinstance(error, SettingsError) else reason
    arguments.fail(f"{path}: {reason}")


def _problem(config: Any) -> str | None:
    labels = {name: config.properties.get(name) for name in _LABELS}
    return problem_of(config.atomic_numbers, config.positions, config.cell, config.pbc, **labels)


def data_files(given: Mapping[str, Any], options: Iterable[str]) -> list[str]:
    """The files and folders of data that arguments, or those of a head, name and that exist.

    Args:
        given: arguments by name.
        options: of :data:`TRAINING` or :data:`HELD_OUT`.
    """
    paths: list[Any] = []
    for option in options:
        value = given.get(option)
        if option == "test_dir" and value:
            # as MACE's run_train.py: files "…_test.h5", or a folder for each set
            value = [p for p in Path(value).glob("*") if p.is_dir() or p.match("*_test.h5")]
        paths += value if isinstance(value, list) else [value]
    return [str(path) for path in paths if path and Path(path).exists()]


def check_lazy_file(path: str) -> None:
    """End the run if an HDF5 or LMDB file or folder holds what cannot be right.

    MACE reads its structures one by one in training, so that they are looked at beforehand.
    """
    index, problem = -1, None
    try:
        for config in configurations(path):
            index += 1
            problem = _problem(config)
            if problem:
                break
    except Exception as error:  # those of HDF5 and LMDB are of every kind
        problem = f"it cannot be read ({str(error) or type(error).__name__})"
    if problem:
        arguments.fail(f"{path}: frame {max(index, 0)} (from 0): {problem}")


class _Unchanged:
    """Stands for MACE's AtomicData where no neighbour list is wanted."""

    @staticmethod
    def from_config(config: Any, **keywords: Any) -> Any:
        return config


def dataset_of(path: str, r_max: float, z_table: Any, heads: list[str], head: str) -> Any:
    """MACE's dataset of an HDF5 or LMDB file or folder, which reads a structure when asked for.

    Args:
        path: the file or folder.
        r_max: cutoff of the model in Å.
        z_table: MACE's table of the elements.
        heads: all heads of the run.
        head: the structures' one.
    """
    return load_dataset_for_path(path, r_max, z_table, heads, SimpleNamespace(head_name=head))


def configurations(path: str) -> Iterator[Any]:
    """What is in an HDF5 or LMDB file or folder, as MACE's configurations, one by one."""
    dataset = dataset_of(path, 0.0, None, ["Default"], "Default")
    for part in dataset.datasets if isinstance(dataset, ConcatDataset) else [dataset]:
        if isinstance(part, data.HDF5Dataset):
            part.atomic_dataclass = _Unchanged
            yield from map(part.__getitem__, range(len(part)))
        else:
            yield from map(_configuration, map(part.AseDB.get_atoms, part.AseDB.ids))


def _configuration(atoms: Any) -> Any:
    return data.Configuration(
        atomic_numbers=atoms.numbers,
        positions=atoms.positions,
        properties={name: label_of(atoms, name) for name in _LABELS},
        property_weights={},
        cell=atoms.cell.array,
        pbc=atoms.pbc,
    )


def training_data(heads: Iterable[Any]) -> Iterator[Any]:
    """The training configurations of heads, MACE's ``HeadConfig``."""
    for head in heads:
        yield from head.collections.train if head.collections is not None else ()
        for _, configs in _lazily_read(head, TRAINING):
            yield from configs


def validation_data(heads: Iterable[Any]) -> Iterator[Any]:
    """The validation configurations of heads."""
    for head in heads:
        yield from _validation_of(head)
        for _, configs in _lazily_read(head, ("valid_file", "pt_valid_file")):
            yield from configs


def held_out_data(heads: Iterable[Any]) -> Iterator[tuple[str, int, Any]]:
    """Place in words, number in it, and configuration of all validation and test data."""
    for head in heads:
        sets = dict(_lazily_read(head, HELD_OUT))
        if head.collections is not None:
            tests = [config for _, configs in head.collections.tests or () for config in configs]
            sets |= {"the validation data": _validation_of(head), "the test data": iter(tests)}
        for name, configs in sets.items():
            for index, config in enumerate(configs):
                yield f"{name}, head '{head.head_name}'", index, config


def _validation_of(head: Any) -> Iterator[Any]:
    return iter(head.collections.valid or () if head.collections is not None else ())


def _lazily_read(head: Any, options: Iterable[str]) -> Iterator[tuple[str, Iterator[Any]]]:
    """Paths and configurations of a head's data of HDF5 and LMDB."""
    for path in data_files(vars(head), options):
        if not check_path_ase_read(path):
            yield path, configurations(path)
