"""Files of one seed of ``weak_labels.py``: labelled frames, pool, weak labels; MACE's arguments."""

from __future__ import annotations

import argparse
import dataclasses
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
from _command import piwsl

#: how ``piwsl`` calls a cheap method
CHEAP = {
    "GFN2-xTB": "GFN2-xTB",
    "SevenNet-0": "sevenn.calculator:SevenNetCalculator",
    "CHGNet": "chgnet.model.dynamics:CHGNetCalculator",
}
#: frames that have Hessians
LEADING = 17
#: labels alone: so many times the frames
MORE = (2, 4, 8)
#: MACE's arguments for labels of a kind
LABELS: Mapping[str, Mapping[str, Any]] = {"E+F": ENERGIES_AND_FORCES, "E": ENERGIES}


@dataclasses.dataclass(frozen=True)
class Ground:
    """What is trained and sampled for a data set.

    Attributes:
        temperatures: of the dynamics that make the pool (K).
        pool: structures of the pool.
        dynamics: more options of ``piwsl pool``.
        largest: atoms of the largest frame that is labelled or trained on.
        model: MACE's arguments on top of the benchmark's.
        steps: of a training on the labels alone; others are multiples of them. 1600 for a
            correction give the same error as 889 (ethanol, seed 0, 66 instead of 68 meV/Å).
        models: corrections.
    """

    temperatures: tuple[int, ...]
    pool: int = 800
    dynamics: tuple[str | int, ...] = ()
    largest: int = 99
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    steps: int = 1600
    models: int = 3


#: trajectories of a solid are short, as a step is dear: one from each frame at either temperature
_SHORT = ("--timestep", 2, "--equilibration", 100, "--per_run", 10)
GROUNDS = {
    "ethanol_pbe": Ground((500,)),
    "ethanol_pbe_hessians": Ground((500,)),
    "acac_pbe": Ground((600,)),
    "tio2": Ground((500, 1500), 200, _SHORT, 24, {"r_max": 4.0}, 800, 2),
    "si_pbe": Ground((600, 1800), 100, _SHORT, 64, {"r_max": 5.0}, 400, 2),
}


@dataclasses.dataclass
class Files:
    """Of one seed, and what they cost.

    Attributes:
        cheap: the pool with cheap labels on the scale of the others.
        pool_s: CPU time (s) of the pool and its cheap labels.
        weak_s: that of the weak labels, these included.
    """

    folder: Path
    train: Path
    valid: Path
    pool: Path
    cheap: Path
    weak: Path
    more: dict[int, Path]
    pool_s: float = 0.0
    weak_s: float = 0.0


def prepare(options: argparse.Namespace, seed: int) -> Files:
    """Labelled frames, pool and weak labels of a seed, and what they cost."""
    dataset, ground = DATASETS[options.dataset], GROUNDS[options.dataset]
    named = (options.dataset, options.cheap, options.labels, options.frames, seed)
    folder = options.out / "-".join(map(str, named))
    folder.mkdir(parents=True, exist_ok=True)
    names = ("train", "valid", "pool", "cheap", "weak")
    files = Files(
        folder,
        **{name: folder / f"{name}.xyz" for name in names},
        more={n: folder / f"train_{n}.xyz" for n in MORE},
    )
    frames = [
        atoms
        for atoms in ase.io.read(options.data / f"{dataset.train}.xyz", ":")
        if 1 < len(atoms) <= ground.largest
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
        method = ("--calculator", CHEAP[options.cheap])
        # the cheap method may need an environment that has no MACE
        pool_s = piwsl(
            *("pool", files.train, *method, "--n", ground.pool, "--out", files.pool),
            *("--temperatures", *ground.temperatures, "--spacing", 20, *ground.dynamics),
            *("--exclude", files.valid, "--overwrite"),
            python=options.cheap_python,
        )
        frames_and_pool = ("weak", files.train, files.pool)
        labels = folder / "labels.xyz"
        pool_s += piwsl(
            *(*frames_and_pool, *method, "--until", "cheap", "--out", labels, "--overwrite"),
            python=options.cheap_python,
        )
        found = ("--cheap_labels", folder / "labels.stages" / "cheap.xyz", "--overwrite")
        piwsl(*frames_and_pool, *found, "--models", 0, "--offsets", "--out", files.cheap)
        weak = (*frames_and_pool, *found, "--models", ground.models, "--out", files.weak)
        cost.write_text(
            f"{pool_s:.1f} {pool_s + piwsl(*weak, '--train', _correction(options)):.1f}"
        )
    files.pool_s, files.weak_s = map(float, cost.read_text().split())
    return files


def _correction(options: argparse.Namespace) -> str:
    """MACE's command for the corrections, which see nine tenths of the frames."""
    seen = options.frames - max(1, round(options.frames / 10))
    arguments = {"piwsl_pitc_weight": 0, **model(options, 5 / 9, seen, labels=options.labels)}
    words = (f"--{name}={value}" for name, value in arguments.items())
    return " ".join(["mace_run_train", "--loss=piwsl", *words]).replace("--ema=True", "--ema")


def write(path: Path, frames: list[ase.Atoms], forces: bool = True) -> None:
    """Frames with their labels alone, of energies and (by default) forces."""
    written = []
    for atoms in frames:
        bare = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        bare.info["REF_energy"] = atoms.info["REF_energy"]
        if forces:
            bare.arrays["REF_forces"] = atoms.arrays["REF_forces"]
        written.append(bare)
    ase.io.write(path, written, format="extxyz")


def model(
    options: argparse.Namespace,
    times: float,
    frames: float,
    batch: int = BATCH_SIZE,
    labels: str = "E+F",
) -> dict[str, Any]:
    """MACE's arguments of a training of so many times the steps of the labels alone."""
    ground = GROUNDS[options.dataset]
    batch = min(batch, int(frames))
    # MACE drops a last batch that is not full
    epochs = max(2, round(ground.steps * times / (frames // batch)))
    return {
        **MODEL,
        **OPTIMISER,
        **LABELS[labels],
        **ground.model,
        "batch_size": batch,
        "valid_batch_size": VALIDATION_FRAMES,
        **schedule(epochs),
    }
