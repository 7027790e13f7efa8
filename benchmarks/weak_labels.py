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

Rows: the labels alone, also for as long as weak labels cost, and with 2, 4, 8 times the frames;
weak labels; the corrections with the cheap method at run time; an ensemble of models of the labels
alone that labels the pool (arXiv 2503.14293); one model with a head for each method, from scratch;
a model pretrained on the pool's cheap labels, fine-tuned by itself and with MACE's multihead replay
of the pool. Where frames have Hessians of their method, these beside the labels and weak labels.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import resource
import subprocess
import sys
from collections.abc import Callable
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
from tblite.ase import TBLite

CHEAP = "GFN2-xTB"
POOL, SPACING = 800, 20
TEMPERATURE = {"ethanol_pbe": 500, "ethanol_pbe_hessians": 500, "acac_pbe": 600}
#: frames that have Hessians
LEADING = 17
STEPS, PRETRAINING, FINE_TUNING = 1600, 1600, 400
#: of a model that is trained on the pool too
POOL_STEPS = 3200
#: of the labelled frames, and of the pool beside them
BATCH, POOL_BATCH = 2, 8
MODELS = 3
#: labels alone: so many times the frames
MORE = (2, 4, 8)
RATES = (0.001, 0.003)
#: how often the labelled frames stand in the file of a head of their own, beside the pool's
REPEATED = 20
#: energies (eV) and forces (eV/Å) of frames
Predict = Callable[[list[ase.Atoms]], tuple[np.ndarray, list[np.ndarray]]]


@dataclasses.dataclass
class Files:
    """Of one seed, and what they cost.

    Attributes:
        pool_s: CPU time (s) of the pool and its cheap labels.
        weak_s: that of the weak labels, these included.
    """

    folder: Path
    train: Path
    valid: Path
    pool: Path
    weak: Path
    more: dict[int, Path]
    pool_s: float = 0.0
    weak_s: float = 0.0


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
    if dataset.hessians:
        order = np.concatenate([order[order >= LEADING], order[order < LEADING]])
        valid, chosen = order[:VALIDATION_FRAMES], order[-LEADING:]
    else:
        valid, chosen = order[:VALIDATION_FRAMES], order[VALIDATION_FRAMES:]
    if not files.train.exists():
        write(files.valid, [frames[i] for i in valid])
        for n, path in {1: files.train, **files.more}.items():
            write(path, [frames[i] for i in chosen[: n * options.frames]])
    cost = folder / "cost_s.txt"
    if not cost.exists():
        pool_s = piwsl(
            *("pool", files.train, "--calculator", CHEAP, "--n", POOL, "--out", files.pool),
            *("--temperatures", TEMPERATURE[options.dataset], "--spacing", SPACING),
            *("--exclude", files.valid, "--overwrite"),
        )
        command = " ".join(
            ["mace_run_train", "--loss=weighted", *(f"--{k}={v}" for k, v in model(STEPS).items())]
        ).replace("--ema=True", "--ema")
        weak = [
            *("weak", files.train, files.pool, "--calculator", CHEAP, "--out", files.weak),
            *("--models", MODELS, "--train", command),
        ]
        pool_s += piwsl(*weak, "--until", "cheap")
        cost.write_text(f"{pool_s:.1f} {pool_s + piwsl(*weak):.1f}")
    files.pool_s, files.weak_s = map(float, cost.read_text().split())
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
        self.dataset = DATASETS[options.dataset]
        self.n = options.frames

    def every(self) -> dict[str, Callable[[], tuple[Predict, float]]]:
        """The rows."""
        rows = {
            "labels": self.labels,
            "labels, equal cost": self.labels_for_longer,
            "weak": self.weak,
            "corrections, cheap method": self.corrections,
            "ensemble": self.ensemble,
            "two heads": self.two_heads,
            **{f"pretrained, lr {r:g}": functools.partial(self.pretrained, r) for r in RATES},
            **{f"replay, lr {r:g}": functools.partial(self.replay, r) for r in RATES},
        }
        if self.dataset.hessians:
            hessians = self.options.data / f"{self.dataset.hessians}.xyz"
            more = {"piwsl_hessian_file": hessians}
            rows["Hessians"] = functools.partial(self.labels, name="hessians", more=more)
            rows["weak, Hessians"] = functools.partial(self.weak, more=more)
            return rows
        more_frames = {f"labels, {n} x the frames": functools.partial(self.labels, n) for n in MORE}
        return rows | more_frames

    def labels(
        self,
        times: int = 1,
        steps: int = STEPS,
        name: str = "labels",
        more: dict[str, Any] | None = None,
    ) -> tuple[Predict, float]:
        """The labels alone."""
        file = self.files.train if times == 1 else self.files.more[times]
        arguments = model(steps, times * self.n) | (more or {})
        return self._trained(f"{name}_{times}_{steps}", file, arguments)

    def labels_for_longer(self) -> tuple[Predict, float]:
        """As many steps as fit into the cost of the weak labels."""
        longer = max(1.0, self.weak()[1] / self.labels()[1])
        return self.labels(steps=round(STEPS * longer))

    def weak(self, more: dict[str, Any] | None = None) -> tuple[Predict, float]:
        """An ordinary model on the labels and the weak labels of the pool."""
        name = "weak_and_hessians" if more else "weak"
        predict, seconds = self._with_pool(name, self.files.weak, more or {})
        return predict, seconds + self.files.weak_s

    def corrections(self) -> tuple[Predict, float]:
        """The cheap method at run time, corrected."""
        stages = self.files.folder / "weak.stages"
        found = sorted(stages.glob("correction_*/training/correction.model"))
        models = [load(path) for path in found]

        def predict_sum(frames: list[ase.Atoms]) -> tuple[np.ndarray, list[np.ndarray]]:
            energies, forces = cheap_labels(frames)
            added, forces_added = mean_of(models, frames)
            return energies + added, [f + more for f, more in zip(forces, forces_added)]

        return predict_sum, self.files.weak_s

    def ensemble(self) -> tuple[Predict, float]:
        """Models of the labels alone label the pool."""
        members = [self._train_model(f"ensemble_{k}", self.files.train, k) for k in range(MODELS)]
        file = self.files.folder / "ensemble.xyz"
        if not file.exists():
            pool = ase.io.read(self.files.pool, ":")
            energies, forces = mean_of([load(path) for path, _ in members], pool)
            for atoms, energy, force in zip(pool, energies, forces):
                atoms.info["REF_energy"], atoms.arrays["REF_forces"] = energy, force
            write(file, pool)
        predict, seconds = self._with_pool("ensemble", file, {})
        return predict, self.files.pool_s + seconds + sum(seconds for _, seconds in members)

    def two_heads(self) -> tuple[Predict, float]:
        """One model with a head for each method."""
        many, cheap = self.files.folder / "repeated.xyz", self._cheap()
        write(many, REPEATED * ase.io.read(self.files.train, ":"))
        heads = {
            "Default": {
                "train_file": str(many),
                "valid_file": str(self.files.valid),
                "E0s": self.dataset.e0s,
            },
            "cheap": {"train_file": str(cheap), "valid_file": str(cheap), "E0s": "average"},
        }
        batch = BATCH + POOL_BATCH
        arguments = model(POOL_STEPS, POOL + REPEATED * self.n, batch) | {"heads": str(heads)}
        for name in ("train_file", "valid_file", "E0s"):
            arguments[name] = None
        predict, seconds = self._trained("two_heads", many, arguments)
        return predict, self.files.pool_s + seconds

    def pretrained(self, rate: float) -> tuple[Predict, float]:
        """Pretrained on the cheap labels of the pool, then fine-tuned on the labels."""
        return self._fine_tuned(f"fine_tuned_{rate:g}", rate, {})

    def replay(self, rate: float) -> tuple[Predict, float]:
        """Likewise, with MACE's multihead replay of the pool."""
        more = {
            "multiheads_finetuning": True,
            "force_mh_ft_lr": True,
            "pt_train_file": self._cheap(),
            "num_samples_pt": POOL,
            "batch_size": BATCH + POOL_BATCH,
            "real_pt_data_ratio_threshold": BATCH / POOL_BATCH,
        }
        return self._fine_tuned(f"replay_{rate:g}", rate, more)

    def _fine_tuned(self, name: str, rate: float, more: dict[str, Any]) -> tuple[Predict, float]:
        cheap = self._cheap()
        arguments = model(PRETRAINING, POOL, BATCH + POOL_BATCH) | {"E0s": "average"}
        foundation, first = self._train("pretraining", cheap, arguments, valid=cheap)
        seen = POOL * (1 + BATCH / POOL_BATCH) if more else self.n
        batch = BATCH + POOL_BATCH if more else 5
        arguments = model(FINE_TUNING, seen, batch) | FINETUNED | {"lr": rate} | more
        for word in ("num_channels", "max_L", "max_ell", "correlation", "num_interactions"):
            del arguments[word]
        shift = self._shift(foundation)
        predict, seconds = self._trained(
            name,
            shifted(self.files.train, shift),
            arguments | {"foundation_model": foundation},
            shifted(self.files.valid, shift),
        )
        return predict, self.files.pool_s + first + seconds

    def _cheap(self) -> Path:
        """The pool with its cheap labels."""
        cheap = self.files.folder / "cheap.xyz"
        if not cheap.exists():
            stages = self.files.folder / "weak.stages" / "cheap.xyz"
            known = {atoms.positions.tobytes() for atoms in ase.io.read(self.files.train, ":")}
            frames = [a for a in ase.io.read(stages, ":") if a.positions.tobytes() not in known]
            write(cheap, frames)
        return cheap

    def _shift(self, foundation: Path) -> float:
        frames = ase.io.read(self.files.train, ":")
        found = predict(load(foundation), frames)[0]
        return float(np.mean([a.info["REF_energy"] for a in frames] - found))

    def _with_pool(self, name: str, pool: Path, more: dict[str, Any]) -> tuple[Predict, float]:
        arguments = model(POOL_STEPS, self.n, BATCH) | {
            "piwsl_pool_file": pool,
            "piwsl_pool_per_batch": POOL_BATCH,
        }
        return self._trained(f"{name}_{POOL_STEPS}", self.files.train, arguments | more)

    def _train_model(self, name: str, file: Path, member: int) -> tuple[Path, float]:
        return self._train(name, file, model(STEPS, self.n) | {"seed": 1000 * self.seed + member})

    def _trained(
        self, name: str, file: Path, arguments: dict[str, Any], valid: Path | None = None
    ) -> tuple[Predict, float]:
        path, seconds = self._train(name, file, arguments, valid)
        return functools.partial(predict, load(path)), seconds

    def _train(
        self, name: str, file: Path, arguments: dict[str, Any], valid: Path | None = None
    ) -> tuple[Path, float]:
        folder = self.files.folder / name
        finished = folder / "cpu_s.txt"
        if not finished.exists():
            folder.mkdir(exist_ok=True)
            defaults = {
                "loss": "piwsl",
                "piwsl_pitc_weight": 0,
                "E0s": self.dataset.e0s,
                "seed": self.seed,
                "train_file": file,
                "valid_file": valid or self.files.valid,
            }
            given = {k: v for k, v in {**defaults, **arguments}.items() if v is not None}
            _, total = train(given, folder)
            finished.write_text(f"{total['cpu_s']:.1f}")
        return folder / "model.model", float(finished.read_text())


def load(path: Path) -> Any:
    """A model file of ours."""
    return torch.load(path, weights_only=False, map_location="cpu")


def cheap_labels(frames: list[ase.Atoms]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Energies (eV) and forces (eV/Å) by the cheap method."""
    calculator = TBLite(method=CHEAP, verbosity=0)
    bare = [ase.Atoms(atoms.numbers, atoms.positions, calculator=calculator) for atoms in frames]
    found = [(atoms.get_potential_energy(), atoms.get_forces()) for atoms in bare]
    return np.array([energy for energy, _ in found]), [forces for _, forces in found]


def mean_of(models: list[Any], frames: list[ase.Atoms]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Mean energies and forces of some models."""
    energies, forces = zip(*(predict(one, frames) for one in models))
    return np.mean(energies, axis=0), [np.mean(each, axis=0) for each in zip(*forces)]


def shifted(path: Path, shift: float) -> Path:
    """A file with a constant taken off its energies: MACE keeps the pretrained model's E0s."""
    out = path.with_name(f"{path.stem}_shifted.xyz")
    frames = ase.io.read(path, ":")
    for atoms in frames:
        atoms.info["REF_energy"] -= shift
    write(out, frames)
    return out


def test(predict: Predict, options: argparse.Namespace) -> dict[str, float]:
    """Errors on the test file; energies without their mean error."""
    file = options.data / f"{DATASETS[options.dataset].test}.xyz"
    frames = [atoms for atoms in ase.io.read(file, ":") if len(atoms) > 1]
    energies, forces = predict(frames)
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
        every = Runs(options, seed, prepare(options, seed)).every()
        for name, run in every.items():
            if options.runs and name not in options.runs:
                continue
            predict_frames, seconds = run()
            found = test(predict_frames, options)
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
