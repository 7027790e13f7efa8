"""Softening and its cure by one frame: ``configs/mace/soften_one_frame.yaml`` over seeds.

    python benchmarks/softening.py --out RESULTS_DIR [--seeds 1 2 3 4 5]

A small MACE model is trained on 40 frames of GFN2-xTB ethanol near equilibrium (Langevin dynamics
at 150 K from the minimum), another on the 40 bundled frames at 500 K, and both are tested on the
bundled frames at 900 K. Each is then fine-tuned as the config says: on the most energetic of 20
frames at 500 K that the seed draws, without and with its Hessian, and on all 20, which take fewer
gradients of the reference than the Hessian (54). One row per model in ``softening.csv``; needs
tblite in this Python.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pandas as pd
import yaml
from _accuracy_stationary import hessian, xtb
from _accuracy_test import load, predict
from _accuracy_training import initialise_worker, train
from _errors import errors
from ase import units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.optimize import BFGS

from piwsl_plugins.labels.hessian_labels import HessianLabel, write_labels

ROOT = Path(__file__).parents[1]
E0S = "{1: -11.68171915, 6: -50.0321162, 7: 0.0, 8: -104.03748135}"
FRAMES, CANDIDATES = 40, 20
COLD, EQUILIBRATION, SPACING = 150, 1000, 50
#: as the config's comment has it
PRETRAINING = {"max_num_epochs": 150, "lr_scheduler_gamma": 0.97, "eval_interval": 25}
#: steps of fine-tuning are the same with more frames
ALL_FRAMES = {"batch_size": 5, "max_num_epochs": 15, "eval_interval": 5, "lr_scheduler_gamma": 0.92}


def bundled(name: str) -> list[ase.Atoms]:
    """Molecules of a data file."""
    return [a for a in ase.io.read(ROOT / "data" / f"{name}.xyz", ":") if len(a) > 1]


def near_equilibrium(seed: int) -> list[ase.Atoms]:
    """Frames at 150 K with energies and forces."""
    atoms = bundled("ethanol_gfn2_train")[0]
    atoms.calc = xtb()
    BFGS(atoms, logfile=None).run(fmax=0.01, steps=500)
    random = np.random.default_rng(seed)
    MaxwellBoltzmannDistribution(atoms, temperature_K=COLD, rng=random)
    dynamics = Langevin(atoms, 0.5 * units.fs, temperature_K=COLD, friction=0.02, rng=random)
    dynamics.run(EQUILIBRATION)
    found = []
    for _ in range(FRAMES):
        dynamics.run(SPACING)
        frame = ase.Atoms(atoms.symbols, atoms.positions)
        frame.info["REF_energy"] = atoms.get_potential_energy()
        frame.arrays["REF_forces"] = atoms.get_forces()
        found.append(frame)
    return found


def model(config: str, folder: Path, **changes: Any) -> Path:
    """Train by a config of the repository with changes; gives the model."""
    folder.mkdir(parents=True, exist_ok=True)
    arguments = yaml.safe_load((ROOT / "configs" / "mace" / f"{config}.yaml").read_text())
    for name in ("model_dir", "test_file"):
        arguments.pop(name, None)
    return train({**arguments, "skip_evaluate_heads": "Default", **changes}, folder)[0]


def test(path: Path) -> dict[str, float]:
    """Errors at 900 K."""
    frames = bundled("ethanol_gfn2_hot")
    energies, forces = predict(load(path), frames)
    true = np.array([atoms.info["REF_energy"] for atoms in frames])
    found = errors(frames, energies, forces, true, [a.arrays["REF_forces"] for a in frames])
    return {name: found[name] for name in ("E_centred", "F_rmse", "slope")}


def runs(seed: int, out: Path) -> list[dict[str, Any]]:
    """All models of a seed."""
    molecules = bundled("ethanol_gfn2_train")
    order = np.random.default_rng([seed, 2408]).permutation(len(molecules))
    candidates = [molecules[i] for i in order[:CANDIDATES]]
    one = max(candidates, key=lambda atoms: atoms.info["REF_energy"])
    folder = out / f"{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    sets = {
        "150 K": near_equilibrium(seed),
        "500 K": bundled("ethanol_gfn2_valid"),
        "valid": bundled("ethanol_gfn2_test"),
        "one": [one],
        "all": candidates,
    }
    paths = {name: folder / f"{name.replace(' ', '')}.xyz" for name in sets}
    for name, frames in sets.items():
        ase.io.write(paths[name], frames, columns=["symbols", "positions", "REF_forces"])
    labels = folder / "one.npz"
    label = HessianLabel(one.numbers, one.positions, hessian=hessian(one))
    write_labels(labels, [label], "GFN2-xTB")
    without: dict[str, Any] = {"piwsl_hessian_weight": 0, "piwsl_hessian_file": labels}
    variants: dict[str, tuple[str, dict[str, Any]]] = {
        "one frame": ("one", without),
        "with its Hessian": ("one", {"piwsl_hessian_file": labels}),
        "20 frames": ("all", without | ALL_FRAMES),
    }
    rows = []
    for trained in ("150 K", "500 K"):
        files = {"train_file": paths[trained], "valid_file": paths["valid"]}
        at = folder / paths[trained].stem
        before = model(
            "finetune_pretrain", at / "before", **files, E0s=E0S, seed=seed, **PRETRAINING
        )
        models = {"before": before}
        for variant, (frames, changes) in variants.items():
            files = {"train_file": paths[frames], "valid_file": paths[frames]}
            changes = changes | files | {"foundation_model": before, "seed": seed}
            models[variant] = model("soften_one_frame", at / variant.replace(" ", "_"), **changes)
        rows += [
            {"trained": trained, "run": variant, "seed": seed, **test(path)}
            for variant, path in models.items()
        ]
    return rows


def main() -> None:
    """Run seed by seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    options = parser.parse_args()
    initialise_worker()
    rows = []
    for seed in options.seeds:
        rows += runs(seed, options.out.resolve())
        table = pd.DataFrame(rows)
        table.to_csv(options.out / "softening.csv", index=False, float_format="%.5g")
        print(table[table.seed == seed].to_string(index=False), flush=True)
    grouped = table.drop(columns="seed").groupby(["trained", "run"], sort=False)
    print(grouped.agg(["mean", "std"]).round(3).to_string())


if __name__ == "__main__":
    main()
