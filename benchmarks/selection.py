"""What chosen frames are worth: models trained on N frames of a pool, chosen in several ways.

    python benchmarks/selection.py --data ../shared/data --out RESULTS_DIR
        [--datasets ethanol_pbe acac_pbe] [--frames 10 20 50] [--seeds 0 1 2 3 4]
        [--methods d_optimal fps random features mace_finetuning_select] [--model pretrained.model]
        [--steps 1000]

The pool is a training file without 20 validation frames, drawn by the seed; of solids, frames of at
most 24 atoms. ``piwsl select`` chooses from it, without a look at labels, by SOAP or, with
"features", D-optimally by those of a model (``--model``); or MACE's ``mace_finetuning_select``,
which needs fpsample and such a model. Small MACE models, those of ``accuracy.py``, are trained by
MACE's own trainer on energies and forces, all for as many steps, and tested on the test file. The
seed is that of validation frames, random choice and training. ``acac_gfn2``, whose proton moves, is
made by ``_reaction_data.py``; "rare_F" is the error on its frames in which it is on its way.
One row per run in ``selection.csv``, finished runs are kept; means are printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pandas as pd
from _accuracy_cells import (
    BATCH_SIZE,
    DATASETS,
    ENERGIES_AND_FORCES,
    MODEL,
    OPTIMISER,
    VALIDATION_FRAMES,
    schedule,
)
from _accuracy_test import load, predict
from _accuracy_training import initialise_worker, train
from _errors import errors_on
from _weak_labels_files import GROUNDS as WEAK_GROUNDS
from _weak_labels_files import Ground

from piwsl_plugins.tools.command import main as piwsl

#: what is trained for a data set
GROUNDS = {**WEAK_GROUNDS, "acac_gfn2": Ground((600,))}
#: the methods that need a model
FEATURES, MACE_OWN = "features", "mace_finetuning_select"


def choose(
    pool: list[ase.Atoms], method: str, model: Path, frames: int, seed: int, folder: Path
) -> Path:
    """Choose frames by a command; returns the file of the chosen."""
    source, chosen = folder / "pool.xyz", folder / "train.xyz"
    ase.io.write(source, pool, format="extxyz")
    if method == MACE_OWN:
        options = {
            "configs_pt": source,
            "num_samples": frames,
            "model": model.resolve(),
            "output": chosen,
            "seed": seed,
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        module = [sys.executable, "-m", "mace.cli.fine_tuning_select"]
        # it saves descriptors where it runs
        subprocess.run([*module, *words], cwd=folder, check=True, capture_output=True)
        return chosen
    named = ["--method", method]
    if method == FEATURES:
        named = ["--model", str(model)]
    options = [*named, "--n", str(frames), "--seed", str(seed), "--out", str(chosen)]
    if piwsl(["select", str(source), *options, "--overwrite"]) != 0:
        raise RuntimeError(f"piwsl select failed in {folder}")
    return chosen


def arguments(
    chosen: Path, valid: Path, dataset: str, frames: int, seed: int, steps: int
) -> dict[str, Any]:
    """MACE's arguments, those of the baseline of ``accuracy.py``."""
    epochs = max(2, round(steps / (frames / BATCH_SIZE)))
    return {
        **MODEL,
        **OPTIMISER,
        **ENERGIES_AND_FORCES,
        **GROUNDS[dataset].model,
        "train_file": chosen,
        "valid_file": valid,
        "E0s": DATASETS[dataset].e0s,
        "seed": seed,
        "batch_size": BATCH_SIZE,
        "valid_batch_size": VALIDATION_FRAMES,
        **schedule(epochs),
        "skip_evaluate_heads": "Default",
    }


def run(
    options: argparse.Namespace, name: str, method: str, frames: int, seed: int, folder: Path
) -> dict[str, Any]:
    """Choose, train and test, unless the result is there."""
    result = folder / "result.json"
    if result.exists():
        return json.loads(result.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    dataset = DATASETS[name]
    everything = [
        atoms
        for atoms in ase.io.read(options.data / f"{dataset.train}.xyz", ":")
        if len(atoms) <= GROUNDS[name].largest
    ]
    order = np.random.default_rng(seed).permutation(len(everything))
    valid, pool = order[:VALIDATION_FRAMES], order[VALIDATION_FRAMES:]
    ase.io.write(folder / "valid.xyz", [everything[n] for n in valid], format="extxyz")
    given = [everything[n] for n in pool]
    chosen = choose(given, method, options.model, frames, seed, folder)
    settings = arguments(chosen, folder / "valid.xyz", name, frames, seed, options.steps)
    path, cost = train(settings, folder)
    model = load(path)
    test = ase.io.read(options.data / f"{dataset.test}.xyz", ":")
    measured = {
        "dataset": name,
        "frames": frames,
        "method": method,
        "seed": seed,
        "steps": cost["steps"],
        **errors_on(test, *predict(model, test)),
        "train_cpu_s": cost["cpu_s"],
    }
    rare = options.data / f"{dataset.test}_rare.xyz"
    if rare.exists():
        test = ase.io.read(rare, ":")
        measured["rare_F"] = errors_on(test, *predict(model, test))["F_rmse"]
    (folder / "pool.xyz").unlink()
    result.write_text(json.dumps(measured, indent=1))
    return measured


def main() -> None:
    """Run what is missing, seed by seed; write the table and print means."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with the data files")
    add("--out", type=Path, required=True, help="folder for runs and results")
    add("--datasets", nargs="+", default=["ethanol_pbe", "acac_pbe"], choices=GROUNDS)
    add("--frames", type=int, nargs="+", default=[10, 20, 50])
    add("--methods", nargs="+", default=["d_optimal", "fps", "random"])
    add("--model", type=Path, help="MACE model whose features are taken")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    add("--steps", type=int, default=1000, help="optimiser steps of every run")
    options = parser.parse_args()
    if options.model is None and {FEATURES, MACE_OWN} & set(options.methods):
        parser.error(f"{FEATURES} and {MACE_OWN} need --model")
    initialise_worker()
    rows = []
    for seed in options.seeds:
        for name in options.datasets:
            for frames in options.frames:
                for method in options.methods:
                    label = f"{name}_{frames}_{method}_{seed}_{options.steps}"
                    folder = options.out.resolve() / "runs" / label
                    rows.append(run(options, name, method, frames, seed, folder))
                    pd.DataFrame(rows).to_csv(
                        options.out / "selection.csv", index=False, float_format="%.6g"
                    )
    table = pd.DataFrame(rows).groupby(["dataset", "frames", "method"])
    print(table[["E_centred", "F_rmse"]].agg(["mean", "std", "count"]).round(2).to_string())


if __name__ == "__main__":
    main()
