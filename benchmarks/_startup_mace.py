"""MACE's part of ``startup.py``: HDF5 data, read structure by structure."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import mace  # noqa: F401  sets a variable without which e3nn 0.4.4 does not load
import numpy as np
from mace.data.utils import Configuration, save_configurations_as_HDF5

NAME, ENDING = "MACE", "h5"
ARGUMENTS = {
    "name": "startup",
    "atomic_numbers": "[1, 6, 8]",
    "E0s": "{1: -10.0, 6: -50.0, 8: -100.0}",
    "hidden_irreps": "16x0e",
    "batch_size": 10,
    "max_num_epochs": 1,
    "device": "cpu",
}


def write_frames(path: Path, numbers: np.ndarray, positions: np.ndarray) -> None:
    """An HDF5 file of MACE's; what is not labelled is in it as MACE's own program writes it."""
    labels: dict[str, Any] = {"energy": 0.0, "forces": np.zeros((len(numbers), 3))}
    absent = dict.fromkeys(("stress", "virials", "dipole", "charges"))
    frames = [
        Configuration(
            atomic_numbers=numbers,
            positions=one,
            properties=labels | absent,
            property_weights=dict.fromkeys(labels, 1.0) | dict.fromkeys(absent, 0.0),
            cell=np.zeros((3, 3)),
            pbc=(False, False, False),
        )
        for one in positions
    ]
    with h5py.File(path, "w") as file:
        file.attrs["drop_last"] = False
        save_configurations_as_HDF5(frames, 0, file)


def command(folder: Path, run: Path, piwsl: dict[str, Path] | None) -> list[str]:
    """What ``mace_run_train`` is given.

    Args:
        folder: of the data.
        run: the run's own.
        piwsl: PIWSL's options; None for a run without it.
    """
    options = {f"piwsl_{name}": value for name, value in (piwsl or {}).items()}
    options["loss"] = "weighted" if piwsl is None else "piwsl"
    files = {f"{split}_file": folder / f"{split}.{ENDING}" for split in ("train", "valid")}
    arguments = {**ARGUMENTS, **files, **options, "work_dir": run}
    return [f"--{name}={value}" for name, value in arguments.items()]


def run_to_first_step(arguments: list[str], stop: Callable[..., None]) -> None:
    """Be ``mace_run_train``, and stop where its first step would be."""
    from piwsl_plugins.mace import _hooks

    if "--loss=piwsl" in arguments:
        _hooks.activate()
    from mace.cli.run_train import main

    # mace.tools.train is the function of this name, too
    sys.modules["mace.tools.train"].take_step = stop  # type: ignore[attr-defined]
    sys.argv = ["mace_run_train", *arguments]
    main()
