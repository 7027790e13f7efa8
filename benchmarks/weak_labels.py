"""Weak labels against what else can be done with a few labels and a cheap method.

    python benchmarks/weak_labels.py --data ../shared/data --out RESULTS_DIR [--dataset ethanol_pbe]
        [--frames 10] [--seeds 0 1 2] [--runs labels weak …]

For each seed other frames are labelled, and a pool is made by dynamics with GFN2-xTB from these
frames (``piwsl pool``), never from the set's own geometries. ``piwsl weak`` labels it; small MACE
models (those of ``accuracy.py``) are trained by MACE's own trainer and tested on the set's test
file. Needs tblite in this Python. Cost is the CPU time of all trainings that a row needs,
corrections and pretraining counted in, and that of dynamics and cheap labels; the row "labels,
equal cost" has as many steps as fit into the cost of the weak labels. One row per run in
``weak_labels.csv``; finished runs are kept.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pandas as pd
import torch
from _accuracy_cells import (
    DATASETS,
    ENERGIES_AND_FORCES,
    FINAL_LR,
    FINETUNED,
    MODEL,
    OPTIMISER,
    VALIDATION_FRAMES,
)
from _accuracy_test import errors, predict
from _accuracy_training import initialise_worker, train

CHEAP = "GFN2-xTB"
POOL, TEMPERATURE, SPACING = 800, {"ethanol_pbe": 500, "acac_pbe": 600}, 20
STEPS, PRETRAINING, FINE_TUNING = 1600, 1600, 400
#: of the labelled frames, and of the pool beside them
BATCH, POOL_BATCH = 2, 8
CORRECTIONS = 3
#: labels alone: so many times the frames
MORE = (2, 4, 8)
RATES = (0.001, 0.003)


@dataclasses.dataclass
class Files:
    """Of one seed."""

    folder: Path
    train: Path
    valid: Path
    pool: Path
    weak: Path
    more: dict[int, Path]
    shared_s: float = 0.0


def cpu() -> float:
    """CPU time of finished child processes (s)."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime


def piwsl(*words: Any) -> float:
    """Run a verb; gives its CPU time (s)."""
    start = cpu()
    subprocess.run([sys.executable, "-m", "piwsl_plugins", *map(str, words)], check=True)
    return cpu() - start


def prepare(options: argparse.Namespace, seed: int) -> Files:
    """Labelled frames, pool and weak labels of a seed, and what they cost."""
    dataset = DATASETS[options.dataset]
    folder = options.out / f"{options.dataset}-{options.frames}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    names = {name: folder / f"{name}.xyz" for name in ("train", "valid", "pool", "weak")}
    files = Files(folder, **names, more={n: folder / f"train_{n}.xyz" for n in MORE})
    frames = [
        atoms for atoms in ase.io.read(options.data / f"{dataset.train}.xyz", ":") if len(atoms) > 1
    ]
    order = np.random.default_rng([seed, 2024]).permutation(len(frames))
    valid, chosen = order[:VALIDATION_FRAMES], order[VALIDATION_FRAMES:]
    if not files.train.exists():
        write(files.valid, [frames[i] for i in valid])
        for n, path in {1: files.train, **files.more}.items():
            write(path, [frames[i] for i in chosen[: n * options.frames]])
    cost = folder / "shared_s.txt"
    if not cost.exists():
        seconds = piwsl(
            *("pool", files.train, "--calculator", CHEAP, "--n", POOL, "--out", files.pool),
            *("--temperatures", TEMPERATURE[options.dataset], "--spacing", SPACING),
            *("--exclude", files.valid, "--overwrite"),
        )
        command = " ".join(
            ["mace_run_train", "--loss=weighted", *(f"--{k}={v}" for k, v in model(STEPS).items())]
        ).replace("--ema=True", "--ema")
        seconds += piwsl(
            *("weak", files.train, files.pool, "--calculator", CHEAP, "--out", files.weak),
            *("--models", CORRECTIONS, "--train", command),
        )
        cost.write_text(f"{seconds:.1f}")
    files.shared_s = float(cost.read_text())
    return files


def write(path: Path, frames: list[ase.Atoms]) -> None:
    """Frames with their labels alone."""
    written = []
    for atoms in frames:
        bare = ase.Atoms(atoms.numbers, atoms.positions)
        bare.info["REF_energy"] = atoms.info["REF_energy"]
        bare.arrays["REF_forces"] = atoms.arrays["REF_forces"]
        written.append(bare)
    ase.io.write(path, written, format="extxyz")


def model(steps: int, frames: int = 9, batch: int = 5) -> dict[str, Any]:
    """MACE's arguments of a training of so many steps."""
    epochs = max(2, round(steps * batch / frames))
    return {
        **MODEL,
        **OPTIMISER,
        **ENERGIES_AND_FORCES,
        "batch_size": batch,
        "valid_batch_size": VALIDATION_FRAMES,
        "max_num_epochs": epochs,
        "eval_interval": max(1, epochs // 10),
        "patience": epochs,
        "scheduler": "ExponentialLR",
        "lr_scheduler_gamma": FINAL_LR ** (1 / (epochs - 1)),
        "device": "cpu",
    }


class Runs:
    """The trainings of one seed, by name; each gives a model and its CPU time (s)."""

    def __init__(self, options: argparse.Namespace, seed: int, files: Files) -> None:
        self.options, self.seed, self.files = options, seed, files
        self.e0s = DATASETS[options.dataset].e0s
        self.n = options.frames

    def labels(self, times: int = 1, steps: int = STEPS) -> tuple[Path, float]:
        """The labels alone."""
        file = self.files.train if times == 1 else self.files.more[times]
        return self._train(f"labels_{times}_{steps}", file, model(steps, times * self.n))

    def weak(self) -> tuple[Path, float]:
        """An ordinary model on the labels and the weak labels of the pool."""
        arguments = model(STEPS, self.n, BATCH) | {
            "piwsl_pool_file": self.files.weak,
            "piwsl_pool_per_batch": POOL_BATCH,
        }
        path, seconds = self._train("weak", self.files.train, arguments)
        return path, seconds + self.files.shared_s

    def pretrained(self, rate: float) -> tuple[Path, float]:
        """Pretrained on the cheap labels of the pool, then fine-tuned on the labels."""
        cheap = self.files.folder / "cheap.xyz"
        if not cheap.exists():
            stages = self.files.folder / "weak.stages" / "cheap.xyz"
            known = {atoms.positions.tobytes() for atoms in ase.io.read(self.files.train, ":")}
            frames = [a for a in ase.io.read(stages, ":") if a.positions.tobytes() not in known]
            write(cheap, frames)
        arguments = model(PRETRAINING, POOL, BATCH + POOL_BATCH) | {"E0s": "average"}
        foundation, first = self._train("pretraining", cheap, arguments, valid=cheap)
        arguments = model(FINE_TUNING, self.n) | FINETUNED | {"lr": rate}
        for name in ("num_channels", "max_L", "max_ell", "correlation", "num_interactions"):
            del arguments[name]
        shift = self._shift(foundation)
        path, seconds = self._train(
            f"fine_tuned_{rate:g}",
            shifted(self.files.train, shift),
            arguments | {"foundation_model": foundation},
            shifted(self.files.valid, shift),
        )
        return path, first + seconds

    def _shift(self, foundation: Path) -> float:
        frames = ase.io.read(self.files.train, ":")
        found = predict(torch.load(foundation, weights_only=False), frames)[0]
        return float(np.mean([a.info["REF_energy"] for a in frames] - found))

    def _train(
        self, name: str, file: Path, arguments: dict[str, Any], valid: Path | None = None
    ) -> tuple[Path, float]:
        folder = self.files.folder / name
        finished = folder / "cpu_s.txt"
        if not finished.exists():
            folder.mkdir(exist_ok=True)
            _, total = train(
                {
                    "loss": "piwsl",
                    "piwsl_pitc_weight": 0,
                    "E0s": self.e0s,
                    "seed": self.seed,
                    "train_file": file,
                    "valid_file": valid or self.files.valid,
                    **arguments,
                },
                folder,
            )
            finished.write_text(f"{total['cpu_s']:.1f}")
        return folder / "model.model", float(finished.read_text())


def shifted(path: Path, shift: float) -> Path:
    """A file with a constant taken off its energies: MACE keeps the pretrained model's E0s."""
    out = path.with_name(f"{path.stem}_shifted.xyz")
    frames = ase.io.read(path, ":")
    for atoms in frames:
        atoms.info["REF_energy"] -= shift
    write(out, frames)
    return out


def test(path: Path, options: argparse.Namespace) -> dict[str, float]:
    """Errors on the test file; energies without their mean error."""
    file = options.data / f"{DATASETS[options.dataset].test}.xyz"
    frames = [atoms for atoms in ase.io.read(file, ":") if len(atoms) > 1]
    energies, forces = predict(torch.load(path, weights_only=False), frames)
    true = np.array([atoms.info["REF_energy"] for atoms in frames])
    found = errors(frames, energies, forces, true, [a.arrays["REF_forces"] for a in frames])
    return {name: found[name] for name in ("E_centred", "F_rmse", "slope")}


def main() -> None:
    """Run what is not in the table yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dataset", choices=TEMPERATURE, default="ethanol_pbe")
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", nargs="+", help="names of rows (default: all)")
    options = parser.parse_args()
    options.out = options.out.resolve()
    table = options.out / "weak_labels.csv"
    initialise_worker()
    for seed in options.seeds:
        runs = Runs(options, seed, prepare(options, seed))
        weak_s = runs.weak()[1]
        labels_s = runs.labels()[1]
        longer = max(STEPS, round(STEPS * weak_s / labels_s))
        every = {
            "labels": runs.labels,
            "weak": runs.weak,
            "labels, equal cost": functools.partial(runs.labels, steps=longer),
            **{f"pretrained, lr {r:g}": functools.partial(runs.pretrained, r) for r in RATES},
            **{f"labels, {n} x the frames": functools.partial(runs.labels, n) for n in MORE},
        }
        for name, run in every.items():
            if options.runs and name not in options.runs:
                continue
            path, seconds = run()
            found = test(path, options)
            row = {"dataset": options.dataset, "frames": options.frames, "run": name, "seed": seed}
            rows = pd.read_csv(table).to_dict("records") if table.exists() else []
            same = [r for r in rows if all(r[k] == v for k, v in row.items())]
            rows = [r for r in rows if r not in same] + [{**row, **found, "cpu_s": seconds}]
            pd.DataFrame(rows).to_csv(table, index=False, float_format="%.5g")
            print(rows[-1], flush=True)
    grouped = pd.read_csv(table).groupby(["dataset", "frames", "run"], sort=False)
    columns = ["E_centred", "F_rmse", "slope", "cpu_s"]
    print(grouped[columns].agg(["mean", "std"]).round(3).to_string())


if __name__ == "__main__":
    main()
