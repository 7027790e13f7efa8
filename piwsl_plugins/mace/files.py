"""Data files as MACE reads them, and what is wrong in one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from mace.calculators.foundations_models import mace_mp_names, polar_model_names

from ..frames.checks import problem_of, problem_of_atoms
from ..frames.reading import FrameError, iterate_atoms, label_of
from ..progress import shown
from .ase_names import as_in_the_file, isolated_atoms
from .lazy_files import LazyFile, disregard_missing, parts_of_path
from .process import fail, labels_read

#: what MACE 0.3.16 (mace/cli/run_train.py) takes for a model of its own, not for a path
_OWN_MODELS = {"small_off", "medium_off", "large_off", "mace_omol"} | {
    *(name for name in mace_mp_names if name is not None),
    *polar_model_names,
}
#: MACE's options that name data
TRAINING = ("train_file", "pt_train_file")
VALIDATION = ("valid_file", "pt_valid_file")
HELD_OUT = (*VALIDATION, "test_file", "test_dir")


def load_checked(run: Callable[[], Any], given: dict[str, Any]) -> Any:
    """Run MACE's ``load_from_xyz``; missing labels have weight 0, others are as in the file.

    A file that cannot be right ends the run with one message.

    Args:
        run: MACE's function with its arguments bound.
        given: these by name.
    """
    path, keys = given["file_path"], given["key_specification"]
    # replay data without labels, or whatever they are: MACE itself has yet to label it
    to_label = given["no_data_ok"]
    read = () if to_label else labels_read()
    try:
        with as_in_the_file():
            atomic_energies, configs = run()
        atomic_energies = isolated_atoms(path, keys.info_keys["energy"], atomic_energies)
        finite = np.isfinite(list(atomic_energies.values())).all()
        if finite and not any(problem_of_config(config, read) for config in configs):
            if not to_label:
                for config in configs:
                    disregard_missing(config)
            return atomic_energies, configs
        reason = "it cannot be used"
    except Exception as error:  # ASE's readers raise errors of every kind
        reason = str(error) or type(error).__name__
    names = {**keys.info_keys, **keys.arrays_keys}
    problem = _problem_in(path, {name: names[name] for name in read if name in names})
    fail(f"{path}: {problem or reason}")


def _problem_in(path: str, keys: Mapping[str, str]) -> str | None:
    """What is wrong in a file, read once more: MACE leaves frames out, so that numbers differ.

    Args:
        path: the file.
        keys: under which labels are read, by their names.
    """
    try:
        selected = "@" in Path(path).name  # as ASE takes it, "train.xyz@:10"
        every = ase.io.iread(path, index=":") if selected else iterate_atoms(Path(path))
        for number, atoms in enumerate(every):
            # MACE takes labels under names of ASE's from the calculator, in Voigt's notation too
            labels = {key: label_of(atoms, key) for key in keys.values()}
            problem = problem_of_atoms(atoms, **labels)
            if not problem and "stress" in keys:
                weight = atoms.info.get("config_stress_weight", 1.0)
                problem = _problem_of_stress(atoms.pbc, labels[keys["stress"]], weight)
            if problem:
                return f"frame {number} (from 0): {problem.replace('REF_', '')}"
    except FrameError as error:
        where = "" if error.frame is None else f"frame {error.frame} (from 0): "
        return where + error.problem
    except (OSError, TypeError, ValueError):  # MACE's own words then
        return None
    return None


def problem_of_config(config: Any, read: Iterable[str]) -> str | None:
    """What is wrong with a configuration of MACE's, in words; None if nothing is.

    Args:
        config: the configuration.
        read: names of the labels that are used.
    """
    labels = {name: config.properties.get(name) for name in read}
    problem = problem_of(config.atomic_numbers, config.positions, config.cell, config.pbc, **labels)
    if problem or "stress" not in labels:
        return problem
    weight = config.property_weights.get("stress", 1.0)
    return _problem_of_stress(config.pbc, labels["stress"], weight)


def _problem_of_stress(pbc: Sequence[bool], stress: Any, weight: float) -> str | None:
    """That a stress is of another volume than MACE's; None if it is not, or does not count.

    MACE 0.3.16 replaces cell vectors of directions that are not periodic by longer ones
    (mace/data/neighborhood.py), and divides virials by the volume that these span.
    """
    if all(pbc) or stress is None or not weight or not np.any(stress):
        return None
    directions = " ".join("FT"[bool(periodic)] for periodic in pbc)
    return (
        f'it has a stress, and pbc="{directions}": MACE divides by the volume of a cell that it '
        "makes longer where a structure is not periodic, so that it would learn another stress; "
        'with vacuum beyond the cutoff give pbc="T T T", or the stress no weight '
        "(config_stress_weight=0)"
    )


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
    return [
        str(path)
        for path in paths
        if path and (Path(path).exists() or len(parts_of_path(str(path))) > 1)
    ]


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
        fail(f"--foundation_model={given}: there is no such file")
    try:
        model = torch.load(path, map_location="cpu", weights_only=False)
        _ = model.r_max, model.interactions
    except Exception as error:  # those of unpickling are of every kind
        reason = (str(error).splitlines() or [""])[0]
        fail(
            f"--foundation_model={given}: this is no model of MACE "
            f"({type(error).__name__}: {reason})"
        )


def checked(
    path: str, read: Sequence[str], judged: Sequence[str], what: str
) -> Iterator[tuple[int, Any]]:
    """Number and configuration of all that is in an HDF5 or LMDB file or folder, looked at.

    Args:
        path: the file or folder, or LMDB files joined by colons.
        read: names of the properties that are wanted.
        judged: of these, the labels that must be right.
        what: happens to it, for the progress bar.

    Raises:
        ValueError: with the frame, and what is wrong with it.
    """
    number = 0
    try:
        for config in shown(LazyFile(path, read), what):
            problem = problem_of_config(config, judged)
            if problem:
                break
            yield number, config
            number += 1
        else:
            return
    except Exception as error:  # those of HDF5 and LMDB are of every kind
        problem = f"it cannot be read ({str(error) or type(error).__name__})"
    raise ValueError(f"frame {number} (from 0): {problem}")
