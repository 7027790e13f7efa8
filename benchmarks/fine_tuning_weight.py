"""How much PITC a fine-tuned MACE bears when only energies are fitted.

    python benchmarks/fine_tuning_weight.py --out RESULTS_DIR [--seeds 1 2 3] [--weights 0 1e-4 …]

A small MACE is pretrained on GFN1-xTB energies and forces of ethanol and fine-tuned to
GFN2-xTB energies (``--forces_weight=0``) of 50 frames, with the paper's target of zero
curvature at a sweep of weights; weight 0 is the base loss. The constant between the two
levels of theory, 20 eV, is taken off the labels, because MACE 0.3.16 copies the pretrained
model's E0s over the estimated ones. Everything goes through
``mace_run_train`` at equal steps. Reported per weight, as mean and standard deviation over
seeds: energy RMSE after removal of the mean error, force RMSE and force slope (regression of
predicted on reference forces; below 1 is softening) on the GFN2-xTB test set, and the share
of the PITC term in the base loss in the first and last epoch, on which the warning in the
log rests. Finished runs are kept and not repeated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
from mace.calculators import MACECalculator

DATA = Path(__file__).parents[1] / "data"
COMMON = {
    "work_dir": ".",
    "batch_size": 5,
    "valid_batch_size": 40,
    "eval_interval": 5,
    "device": "cpu",
    "default_dtype": "float64",
    "ema_decay": 0.99,
}
MODEL = {"num_channels": 16, "max_L": 1, "correlation": 2, "r_max": 4.0}


def frames(name: str, n: int | None = None) -> list[ase.Atoms]:
    """Labelled frames of a bundled file, without isolated atoms."""
    return [atoms for atoms in ase.io.read(DATA / f"{name}.xyz", ":") if len(atoms) > 1][:n]


def without_constant(path: Path, name: str, n: int | None = None) -> Path:
    """Write a file of GFN2-xTB with the constant against GFN1-xTB taken off its energies."""
    means = [
        np.mean([atoms.info["REF_energy"] for atoms in frames(f"ethanol_{level}_train")])
        for level in ("gfn2", "gfn1")
    ]
    constant = means[0] - means[1]
    structures = frames(name, n)
    for atoms in structures:
        atoms.info["REF_energy"] -= constant
    ase.io.write(path, structures)
    return path


def run(folder: Path, **options: object) -> Path:
    """``mace_run_train`` in a folder, unless its model is there; returns the model's path."""
    model = folder / f"{options['name']}.model"
    if not model.exists():
        folder.mkdir(parents=True, exist_ok=True)
        program = Path(sys.executable).with_name("mace_run_train")
        arguments = [f"--{name}={value}" for name, value in (COMMON | options).items()]
        with (folder / f"{options['name']}.out").open("w") as output:
            subprocess.run(
                [program, *arguments, "--ema"], cwd=folder, check=True, stdout=output, stderr=output
            )
    return model


def judge(model: Path) -> dict[str, float]:
    """Errors on the test set in meV/atom and meV/Å, and the force slope."""
    calculator = MACECalculator(str(model), device="cpu", default_dtype="float64")
    errors, predicted, reference = [], [], []
    for atoms in frames("ethanol_gfn2_test"):
        atoms.calc = calculator
        errors.append((atoms.get_potential_energy() - atoms.info["REF_energy"]) / len(atoms))
        predicted.append(atoms.get_forces().ravel())
        reference.append(atoms.arrays["REF_forces"].ravel())
    found, true = np.concatenate(predicted), np.concatenate(reference)
    return {
        "E meV/atom": 1e3 * float(np.std(errors)),
        "F meV/Å": 1e3 * float(np.sqrt(np.mean((found - true) ** 2))),
        "slope": float(np.polyfit(true, found, 1)[0]),
    }


def shares(folder: Path, name: str, seed: int) -> dict[str, float]:
    """Share of the PITC term in the base loss, in percent, in the first and last epoch."""
    lines = (folder / "results" / f"{name}_run-{seed}_train.txt").read_text().splitlines()
    terms = [entry for entry in map(json.loads, lines) if entry["mode"] == "piwsl"]
    if not terms:
        return {"first share %": 0.0, "last share %": 0.0}
    first, last = (100 * entry["pitc"] / entry["base_loss"] for entry in (terms[0], terms[-1]))
    return {"first share %": first, "last share %": last}


def main() -> None:
    """Run what is missing, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for models and the table")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--weights", type=float, nargs="+", default=[0, 1e-4, 1e-3, 1e-2, 0.1, 1])
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    pretrained = run(
        out / "pretrained",
        name="pretrained",
        loss="weighted",
        seed=0,
        train_file=DATA / "ethanol_gfn1_train.xyz",
        valid_file=DATA / "ethanol_gfn1_valid.xyz",
        max_num_epochs=25,
        lr=0.01,
        **MODEL,
    )
    files = {
        "train_file": without_constant(out / "train.xyz", "ethanol_gfn2_train", options.frames),
        "valid_file": without_constant(out / "valid.xyz", "ethanol_gfn2_valid"),
    }

    def one(job: tuple[float, int]) -> dict[str, float]:
        weight, seed = job
        name = f"weight-{weight:g}"
        folder = out / f"seed-{seed}"
        model = run(
            folder,
            name=name,
            loss="piwsl",
            seed=seed,
            piwsl_pitc_weight=weight,
            foundation_model=pretrained,
            multiheads_finetuning=False,
            E0s="foundation",
            **files,
            max_num_epochs=options.epochs,
            lr=0.001,
            energy_weight=1.0,
            forces_weight=0.0,
        )
        return {"weight": weight, "seed": seed} | shares(folder, name, seed) | judge(model)

    jobs = [(weight, seed) for seed in options.seeds for weight in options.weights]
    with ThreadPoolExecutor(options.processes) as pool:
        rows = pd.DataFrame(list(pool.map(one, jobs)))
    rows.to_csv(out / "runs.csv", index=False, float_format="%.6g")
    start = judge(pretrained)
    print("pretrained model: " + ", ".join(f"{name} {value:.4g}" for name, value in start.items()))
    table = rows.drop(columns="seed").groupby("weight").agg(["mean", "std"])
    table.to_csv(out / "table.csv", float_format="%.4g")
    print(table.to_string(float_format=lambda value: f"{value:.4g}"))


if __name__ == "__main__":
    main()
