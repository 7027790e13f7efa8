"""Data files as MACE reads them: what is wrong in one, and what each head has of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mace.calculators.foundations_models import mace_mp_names, polar_model_names
from mace.tools.scripts_utils import check_path_ase_read

from ..core.frame_checks import problem_of
from ..core.options import SettingsError
from ..core.progress import shown
from ..core.structures import read_structures
from . import arguments
from .lazy_files import LABELS, LazyFile, disregard_missing

#: what MACE 0.3.16 (mace/cli/run_train.py) takes for a model of its own, not for a path
_OWN_MODELS = {"small_off", "medium_off", "large_off", "mace_omol"} | {
    *(name for name in mace_mp_names if name is not None),
    *polar_model_names,
}
#: MACE's options that name data
TRAINING = ("train_file", "pt_train_file")
HELD_OUT = ("valid_file", "test_file", "test_dir", "pt_valid_file")


def load_checked(run: Callable[[], Any], given: dict[str, Any]) -> Any:
    """Run MACE's ``load_from_xyz``; missing labels have weight 0.

    A file that cannot be right ends the run with one message.

    Args:
        run: MACE's function with its arguments bound.
        given: these by name.
    """
    path, keys = given["file_path"], given["key_specification"]
    names = {**keys.info_keys, **keys.arrays_keys}
    try:
        atomic_energies, configs = run()
        finite = np.isfinite(list(atomic_energies.values())).all()
        if finite and not any(map(problem_of_config, configs)):
            if not given["no_data_ok"]:  # else replay data that MACE itself has yet to label
                for config in configs:
                    disregard_missing(config)
            return atomic_energies, configs
        reason = "it cannot be used"
    except Exception as error:  # ASE's readers raise errors of every kind
        reason = str(error) or type(error).__name__
    try:  # once more, to say where it is; MACE leaves frames out
        read_structures(path, "train_file", {n: names[n] for n in LABELS if n in names})
    except ValueError as error:
        reason = error.remedy if isinstance(error, SettingsError) else reason
    arguments.fail(f"{path}: {reason}")


def problem_of_config(config: Any) -> str | None:
    """What is wrong with a configuration of MACE's, in words; None if nothing is."""
    labels = {name: config.properties.get(name) for name in LABELS}
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


def check_foundation_model(given: str) -> None:
    """End the run if ``--foundation_model`` is a path at which there is no model of MACE.

    MACE 0.3.16 (mace/cli/run_train.py) takes all but its own names for a path, and loads it whole.
    """
    if given in _OWN_MODELS:  # whatever is here under this name
        return
    path = Path(given)
    if not path.exists() and path.name == given and path.suffix not in (".model", ".pt", ".pth"):
        return
    if not path.is_file():
        arguments.fail(f"--foundation_model={given}: there is no such file")
    try:
        model = torch.load(path, map_location="cpu", weights_only=False)
        _ = model.r_max, model.interactions
    except Exception as error:  # those of unpickling are of every kind
        reason = (str(error).splitlines() or [""])[0]
        arguments.fail(
            f"--foundation_model={given}: this is no model of MACE "
            f"({type(error).__name__}: {reason})"
        )


def check_lazy_file(path: str) -> None:
    """End the run if an HDF5 or LMDB file or folder holds what cannot be right.

    MACE reads its structures one by one in training, so that they are looked at beforehand.
    """
    try:
        deque(checked(path, f"checking {path}"), maxlen=0)
    except ValueError as error:
        arguments.fail(f"{path}: {error}")


def checked(path: str, what: str) -> Iterator[tuple[int, Any]]:
    """Number and configuration of all that is in an HDF5 or LMDB file or folder, looked at.

    Args:
        path: the file or folder.
        what: happens to it, for the progress bar.

    Raises:
        ValueError: with the frame, and what is wrong with it.
    """
    number = 0
    try:
        for config in shown(LazyFile(path), what):
            problem = problem_of_config(config)
            if problem:
                break
            yield number, config
            number += 1
        else:
            return
    except Exception as error:  # those of HDF5 and LMDB are of every kind
        problem = f"it cannot be read ({str(error) or type(error).__name__})"
    raise ValueError(f"frame {number} (from 0): {problem}")


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
            place = f"{name}, head '{head.head_name}'"
            yield from ((place, index, config) for index, config in enumerate(configs))


def _validation_of(head: Any) -> Iterator[Any]:
    return iter(head.collections.valid or () if head.collections is not None else ())


def _lazily_read(head: Any, options: Iterable[str]) -> Iterator[tuple[str, Iterable[Any]]]:
    """Paths and configurations of a head's data of HDF5 and LMDB."""
    for path in data_files(vars(head), options):
        if not check_path_ase_read(path):
            yield path, LazyFile(path, labels=False)
