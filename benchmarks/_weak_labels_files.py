"""Files of one seed of ``weak_labels.py``: labelled frames, pool, weak labels; MACE's arguments."""

from __future__ import annotations

import argparse
import dataclasses
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from _accuracy_cells import (
    BATCH_SIZE,
    DATASETS,
    ENERGIES,
    ENERGIES_AND_FORCES,
    MODEL,
    OPTIMISER,
    VALIDATION_FRAMES,
    schedule,
)

POOL, SPACING = 800, 20
#: of the dynamics that make the pool (K)
TEMPERATURE = {"ethanol_pbe": 500, "ethanol_pbe_hessians": 500, "acac_pbe": 600}
CHEAP = "GFN2-xTB"
#: frames that have Hessians
LEADING = 17
STEPS = 1600
#: of each correction; 1600 give the same error (seed 0, 66 instead of 68 meV/Å)
CORRECTION_STEPS = 889
MODELS = 3
#: labels alone: so many times the frames
MORE = (2, 4, 8)
#: MACE's arguments for labels of a kind
LABELS: Mapping[str, Mapping[str, Any]] = {"E+F": ENERGIES_AND_FORCES, "E": ENERGIES}


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
    folder = options.out / f"{options.dataset}-{options.labels}-{options.frames}-{seed}"
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
        forces = options.labels == "E+F"
        write(files.valid, [frames[i] for i in valid], forces)
        for n, path in {1: files.train, **files.more}.items():
            write(path, [frames[i] for i in chosen[: n * options.frames]], forces)
    cost = folder / "cost_s.txt"
    if not cost.exists():
        pool_s = piwsl(
            *("pool", files.train, "--calculator", CHEAP, "--n", POOL, "--out", files.pool),
            *("--temperatures", TEMPERATURE[options.dataset], "--spacing", SPACING),
            *("--exclude", files.valid, "--overwrite"),
        )
        weak = [
            *("weak", files.train, files.pool, "--calculator", CHEAP, "--out", files.weak),
            *("--models", MODELS, "--train", _correction(options)),
        ]
        pool_s += piwsl(*weak, "--until", "cheap")
        cost.write_text(f"{pool_s:.1f} {pool_s + piwsl(*weak):.1f}")
    files.pool_s, files.weak_s = map(float, cost.read_text().split())
    return files


def _correction(options: argparse.Namespace) -> str:
    """MACE's command for the corrections, which see nine tenths of the frames."""
    seen = options.frames - max(1, round(options.frames / 10))
    arguments = {"piwsl_pitc_weight": 0, **model(CORRECTION_STEPS, seen, labels=options.labels)}
    words = (f"--{name}={value}" for name, value in arguments.items())
    return " ".join(["mace_run_train", "--loss=piwsl", *words]).replace("--ema=True", "--ema")


def write(path: Path, frames: list[ase.Atoms], forces: bool = True) -> None:
    """Frames with their labels alone, of energies and (by default) forces."""
    written = []
    for atoms in frames:
        bare = ase.Atoms(atoms.numbers, atoms.positions)
        bare.info["REF_energy"] = atoms.info["REF_energy"]
        if forces:
            bare.arrays["REF_forces"] = atoms.arrays["REF_forces"]
        written.append(bare)
    ase.io.write(path, written, format="extxyz")


def beside(path: Path, name: str) -> Path:
    """The file of a run that is made of another one."""
    return path.with_name(f"{path.stem}_{name}.xyz")


def shifted(path: Path, shift: float, name: str) -> Path:
    """A run's file with a constant taken off its energies: MACE keeps the pretrained E0s."""
    out = beside(path, name)
    frames = ase.io.read(path, ":")
    for atoms in frames:
        atoms.info["REF_energy"] -= shift
    write(out, frames, "REF_forces" in frames[0].arrays)
    return out


def model(
    steps: int, frames: float, batch: int = BATCH_SIZE, labels: str = "E+F"
) -> dict[str, Any]:
    """MACE's arguments of a training of so many steps."""
    batch = min(batch, int(frames))
    # MACE drops a last batch that is not full
    epochs = max(2, round(steps / (frames // batch)))
    return {
        **MODEL,
        **OPTIMISER,
        **LABELS[labels],
        "batch_size": batch,
        "valid_batch_size": VALIDATION_FRAMES,
        **schedule(epochs),
    }
