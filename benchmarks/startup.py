"""How long a training takes to its first step, with the framework's own loss and with PIWSL.

    python benchmarks/startup.py [--framework mace|nequip] [--frames 2000 20000] [--rounds 1]
        [--folder FOLDER]

The training data is a file of so many rattled ethanols: HDF5 for MACE, extended XYZ for NequIP.
PIWSL is started without labels and pool, and with a Hessian label for each of them and a pool of as
many others in a file of the same kind. Every start is a process of its own with one thread; the
three are started at the same time, and printed are medians of their CPU time, which a shared
machine disturbs less than wall time, with the ratio, and the largest memory. Nothing is given that
would spare MACE its passes over the data (``--statistics_file``).
"""

from __future__ import annotations

import argparse
import concurrent.futures
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from ase.build import molecule

from piwsl_plugins.labels.hessian_labels import HessianLabel, write_labels

ETHANOL = molecule("CH3CH2OH")
N_VALID = 100


def positions(n: int, seed: int) -> np.ndarray:
    """Rattled ethanols, ``(n, 9, 3)`` in Å."""
    noise = np.random.default_rng(seed).normal(0.0, 0.05, (n, len(ETHANOL), 3))
    return ETHANOL.positions + noise


def springs(positions: np.ndarray) -> np.ndarray:
    """A Hessian in eV/Å² that can be a molecule's: springs at rest between all atoms."""
    n, bonds = len(positions), positions[:, None] - positions
    stiffness = 30.0 / (np.linalg.norm(bonds, axis=-1) + np.eye(n)) ** 6
    blocks = -np.einsum("ij,ija,ijb->iajb", stiffness, bonds, bonds)
    atom = np.arange(n)
    blocks[atom, :, atom] = -blocks.sum(axis=2)
    return blocks.reshape(3 * n, 3 * n)


def write_data(framework: Any, folder: Path, n: int) -> None:
    """Training and validation data, pool and Hessian labels."""
    for seed, (name, count) in enumerate({"train": n, "valid": N_VALID, "pool": n}.items()):
        path = folder / f"{name}.{framework.ENDING}"
        framework.write_frames(path, ETHANOL.numbers, positions(count, seed))
    labels = [
        HessianLabel(ETHANOL.numbers, one, np.zeros((3, 3)), np.zeros(3, bool), springs(one))
        for one in positions(n, seed=0)
    ]
    write_labels(folder / "labels.h5", labels, "springs")


def start(framework: Any, folder: Path, piwsl: dict[str, Path] | None) -> tuple[float, float]:
    """CPU seconds to the first step, and the largest memory until then in MiB."""
    with tempfile.TemporaryDirectory() as run:
        arguments = framework.command(folder, Path(run), piwsl)
        process = subprocess.run(
            [sys.executable, __file__, "--start", framework.NAME.lower(), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    if process.returncode:
        raise SystemExit(process.stdout + process.stderr)
    seconds, memory = json.loads(process.stdout.splitlines()[-1])
    return seconds, memory


def stop(*args: Any, **keywords: Any) -> None:
    """In the place of the first step."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"\n{json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss / 1024])}", flush=True)
    os._exit(0)


def module_of(framework: str) -> Any:
    """A framework's part of this benchmark."""
    return importlib.import_module(f"_startup_{framework}")


def measure(framework: Any, folder: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """CPU seconds and largest memory of each kind of start, in rounds."""
    files = {
        "hessian_file": folder / "labels.h5",
        "pool_file": folder / f"pool.{framework.ENDING}",
    }
    variants: dict[str, dict[str, Path] | None] = {
        framework.NAME: None,
        "PIWSL": {},
        "PIWSL, labels and pool": files,
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for _ in range(rounds):
        with concurrent.futures.ThreadPoolExecutor() as side_by_side:
            starts = [
                side_by_side.submit(start, framework, folder, variant)
                for variant in variants.values()
            ]
        for name, one in zip(variants, starts, strict=True):
            found[name].append(one.result())
    return found


def main() -> None:
    """Measure, and print a line for each kind of start and number of frames."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--framework", choices=["mace", "nequip"], default="mace")
    parser.add_argument("--frames", type=int, nargs="+", default=[2000, 20_000])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where data is made, and found if it is there")
    options = parser.parse_args()
    framework = module_of(options.framework)
    with tempfile.TemporaryDirectory() as temporary:
        for n in options.frames:
            folder = ((options.folder or Path(temporary)) / options.framework / str(n)).absolute()
            if not (folder / "labels.h5").exists():
                folder.mkdir(parents=True, exist_ok=True)
                write_data(framework, folder, n)
            found = measure(framework, folder, options.rounds)
            own = median(seconds for seconds, _ in found[framework.NAME])
            for name, starts in found.items():
                seconds = median(seconds for seconds, _ in starts)
                memory = max(peak for _, peak in starts)
                print(
                    f"{n} frames, {name}: {seconds:.1f} s, ratio {seconds / own:.2f}, "
                    f"{memory:.0f} MiB",
                    flush=True,
                )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--start"]:
        module_of(sys.argv[2]).run_to_first_step(sys.argv[3:], stop)
    else:
        main()
