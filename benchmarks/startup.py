"""How long ``mace_run_train`` takes to its first training step, with its own loss and with PIWSL.

    python benchmarks/startup.py [--frames 2000 20000] [--rounds 1] [--folder FOLDER]

The training data is an HDF5 file of so many rattled ethanols. PIWSL has a Hessian label for each of
them and a pool of as many others, in HDF5 too. Every start is a process of its own with one thread;
the two take turns, and printed are medians of its CPU time, which a shared machine disturbs less
than wall time, with the ratio, and the largest memory. Nothing is given that would spare MACE its
passes over the data (``--statistics_file``).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import h5py
import mace  # noqa: F401  sets a variable without which e3nn 0.4.4 does not load
import numpy as np
from ase.build import molecule
from mace.data.utils import Configuration, save_configurations_as_HDF5

from piwsl_plugins.labels.hessian_labels import HessianLabel, write_labels

ETHANOL = molecule("CH3CH2OH")
N_VALID = 100
ARGUMENTS = {
    "name": "startup",
    "atomic_numbers": "[1, 6, 8]",
    "E0s": "{1: -10.0, 6: -50.0, 8: -100.0}",
    "hidden_irreps": "16x0e",
    "batch_size": 10,
    "max_num_epochs": 1,
    "device": "cpu",
}


def positions(n: int, seed: int) -> np.ndarray:
    """Rattled ethanols, ``(n, 9, 3)`` in Å."""
    noise = np.random.default_rng(seed).normal(0.0, 0.05, (n, len(ETHANOL), 3))
    return ETHANOL.positions + noise


def write_frames(path: Path, n: int, seed: int) -> None:
    """An HDF5 file of MACE's; what is not labelled is in it as MACE's own program writes it."""
    labels: dict[str, Any] = {"energy": 0.0, "forces": np.zeros((len(ETHANOL), 3))}
    absent = dict.fromkeys(("stress", "virials", "dipole", "charges"))
    frames = [
        Configuration(
            atomic_numbers=ETHANOL.numbers,
            positions=one,
            properties=labels | absent,
            property_weights=dict.fromkeys(labels, 1.0) | dict.fromkeys(absent, 0.0),
            cell=np.zeros((3, 3)),
            pbc=(False, False, False),
        )
        for one in positions(n, seed)
    ]
    with h5py.File(path, "w") as file:
        file.attrs["drop_last"] = False
        save_configurations_as_HDF5(frames, 0, file)


def springs(positions: np.ndarray) -> np.ndarray:
    """A Hessian in eV/Å² that can be a molecule's: springs at rest between all atoms."""
    n, bonds = len(positions), positions[:, None] - positions
    stiffness = 30.0 / (np.linalg.norm(bonds, axis=-1) + np.eye(n)) ** 6
    blocks = -np.einsum("ij,ija,ijb->iajb", stiffness, bonds, bonds)
    atom = np.arange(n)
    blocks[atom, :, atom] = -blocks.sum(axis=2)
    return blocks.reshape(3 * n, 3 * n)


def write_data(folder: Path, n: int) -> None:
    """Training and validation data, pool and Hessian labels."""
    write_frames(folder / "train.h5", n, seed=0)
    write_frames(folder / "valid.h5", N_VALID, seed=1)
    write_frames(folder / "pool.h5", n, seed=2)
    labels = [
        HessianLabel(ETHANOL.numbers, one, np.zeros((3, 3)), np.zeros(3, bool), springs(one))
        for one in positions(n, seed=0)
    ]
    write_labels(folder / "labels.h5", labels, "springs")


def start(folder: Path, options: dict[str, Any]) -> tuple[float, float]:
    """CPU seconds to the first step, and the largest memory until then in MiB."""
    files = {"train_file": folder / "train.h5", "valid_file": folder / "valid.h5"}
    arguments = [f"--{name}={value}" for name, value in {**ARGUMENTS, **files, **options}.items()]
    with tempfile.TemporaryDirectory() as run:
        process = subprocess.run(
            [sys.executable, __file__, "--start", *arguments, f"--work_dir={run}"],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    if process.returncode:
        raise SystemExit(process.stdout + process.stderr)
    seconds, memory = json.loads(process.stdout.splitlines()[-1])
    return seconds, memory


def run_to_first_step(arguments: list[str]) -> None:
    """Be ``mace_run_train``, and end where its first step would be."""
    from piwsl_plugins.mace import _hooks

    if "--loss=piwsl" in arguments:
        _hooks.activate()
    from mace.cli.run_train import main

    def stop(*args: Any, **keywords: Any) -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(f"\n{json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss / 1024])}", flush=True)
        os._exit(0)

    # mace.tools.train is the function of this name, too
    sys.modules["mace.tools.train"].take_step = stop  # type: ignore[attr-defined]
    sys.argv = ["mace_run_train", *arguments]
    main()


def main() -> None:
    """Measure, and print a line for each number of frames."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=[2000, 20_000])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where data is made, and found if it is there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for n in options.frames:
            folder = (options.folder or Path(temporary)) / str(n)
            if not (folder / "labels.h5").exists():
                folder.mkdir(parents=True, exist_ok=True)
                write_data(folder, n)
            piwsl = {
                "loss": "piwsl",
                "piwsl_hessian_file": folder / "labels.h5",
                "piwsl_pool_file": folder / "pool.h5",
            }
            variants = {"MACE": {"loss": "weighted"}, "PIWSL": piwsl}
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
            for _ in range(options.rounds):
                for name, variant in variants.items():
                    found[name].append(start(folder, variant))
            own, ours = (median(seconds for seconds, _ in found[name]) for name in variants)
            memory = {name: max(peak for _, peak in starts) for name, starts in found.items()}
            print(
                f"{n} frames: MACE {own:.1f} s, PIWSL {ours:.1f} s, ratio {ours / own:.2f}; "
                f"memory {memory['MACE']:.0f} and {memory['PIWSL']:.0f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--start"]:
        run_to_first_step(sys.argv[2:])
    else:
        main()
