"""Phonon fine-tuning over many crystals, after arXiv 2601.07742, with phonopy sets as labels.

    python benchmarks/crystals.py --out RESULTS_DIR --cheap-python PYTHON [--seeds 0 1 2 3 4]
        [--runs Hessians 'rattled 2' …] [--rate 0.003]

Run it in the environment of MACE or in that of NequIP, with phonopy. A small model is pretrained on
energies and forces of SevenNet-0, of small strained cells of 22 crystals of nine elements, and
fine-tuned to SevenNet-l3i5 on supercells of 15 of them, drawn by the seed; the others are held out
(``_crystals_data.py``, which needs a Python that has sevenn). Every fine-tuning has the perfect
supercells with energies and forces, and beside them, of each crystal: the displaced supercells of
its phonopy set as training frames; as many supercells in which all atoms are moved, or one, or
five; the phonopy set as Hessian labels of the perfect supercell, made by ``piwsl hessian
--from_phonopy``; both; and frames of the pretraining ("replay"). "Five random" are supercells in
which all atoms are displaced at random, in place of the phonopy set. Runs with "×2" or "×3" have so
many times the steps.

Written is ``crystals.csv``, one row per host and run: errors of frequencies on a mesh over the
Brillouin zone of held-out crystals (cm⁻¹) and their sum relative to the reference's ("soft"), and
of forces of their rattled supercells; the same of the crystals that were trained on ("own"), whose
supercells are then moved twice as far; of small strained cells of all crystals, as those of the
pretraining but with the reference's labels ("elsewhere"); validation errors are those of rattled
supercells of training crystals. Finished runs are kept.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pandas as pd
import phonopy
from _command import piwsl
from _errors import errors_on
from phonopy.physical_units import get_physical_units

#: trains and predicts, by the framework of this environment
host: Any = importlib.import_module(
    "_crystals_mace" if importlib.util.find_spec("mace") else "_crystals_nequip"
)
#: crystals that are not trained on
HELD_OUT = 7
#: of fine-tuning: steps, structures in a batch, learning rate
STEPS, BATCH, RATE = 300, 2, 0.003
#: frames of the pretraining that are replayed; of rattled supercells, those for validation
REPLAYED, VALIDATION = 60, 3
MESH = (8, 8, 8)
#: what ``_crystals_data.py`` writes last
LAST = "elsewhere.xyz"


@dataclasses.dataclass(frozen=True)
class Run:
    """What a fine-tuning has beside the perfect supercells.

    Attributes:
        rattled: supercells of each crystal in which all atoms are moved.
        displaced: whether it has those of the phonopy sets as training frames.
        hessians: whether it has these sets as labels.
        random: whether these, as frames or labels, are five with random displacements.
        replay: whether it has frames of the pretraining.
        times: multiple of the steps.
    """

    rattled: int = 0
    displaced: bool = False
    hessians: bool = False
    random: bool = False
    replay: bool = False
    times: int = 1


RUNS = {
    "foundation": None,
    "displaced": Run(displaced=True),
    "displaced ×2": Run(displaced=True, times=2),
    "rattled 1": Run(1),
    "rattled 2": Run(2),
    "rattled 2 ×2": Run(2, times=2),
    "rattled 5": Run(5),
    "rattled 5 ×3": Run(5, times=3),
    "Hessians": Run(hessians=True),
    "displaced, five random": Run(displaced=True, random=True),
    "Hessians, five random": Run(hessians=True, random=True),
    "Hessians, rattled 2": Run(2, hessians=True),
    "rattled 2, replay": Run(2, replay=True),
    "Hessians, replay": Run(hessians=True, replay=True),
    "Hessians, replay ×3": Run(hessians=True, replay=True, times=3),
}


def split(data: Path, seed: int) -> tuple[list[str], list[str]]:
    """Crystals to train on, which have all elements, and those that are held out."""
    names = sorted(path.parent.name for path in data.glob("*/phonopy_params.yaml"))
    elements = {name: set(ase.io.read(data / name / "unit.xyz").symbols) for name in names}
    random = np.random.default_rng([seed, 7])
    while True:
        held_out = sorted(random.choice(names, HELD_OUT, replace=False).tolist())
        training = [name for name in names if name not in held_out]
        if set.union(*(elements[n] for n in training)) == set.union(*elements.values()):
            return training, held_out


def supercells(data: Path, name: str) -> list[ase.Atoms]:
    """The perfect supercell of a crystal, and those in which all atoms are moved."""
    return ase.io.read(data / name / "rattled.xyz", ":")


def frequencies(data: Path, name: str, model: Any = None) -> np.ndarray:
    """On a mesh in cm⁻¹, imaginary ones negative; the reference's without a model."""
    found = phonopy.load(data / name / "phonopy_params.yaml", produce_fc=False, log_level=0)
    if model is not None:
        displaced = ase.io.read(data / name / "displaced.xyz", ":")
        found.forces = host.predict(model, displaced)[1]
    found.produce_force_constants()
    found.run_mesh(MESH, is_mesh_symmetry=False)
    return found.get_mesh_dict()["frequencies"] * get_physical_units().THzToCm


@functools.cache
def reference_frequencies(data: Path, name: str) -> np.ndarray:
    """Those of the reference, once for all runs."""
    return frequencies(data, name)


def frequency_errors(model: Any, data: Path, names: list[str]) -> tuple[float, float]:
    """Mean error of frequencies of crystals (cm⁻¹), and their sum relative to the reference's."""
    reference = np.concatenate([reference_frequencies(data, name).ravel() for name in names])
    found = np.concatenate([frequencies(data, name, model).ravel() for name in names])
    return float(np.abs(found - reference).mean()), float(found.sum() / reference.sum())


def test(model: Any, data: Path, training: list[str], held_out: list[str]) -> dict[str, float]:
    """The numbers of a row."""
    valid = [atoms for name in training for atoms in supercells(data, name)[-VALIDATION:]]
    hot = [atoms for name in held_out for atoms in supercells(data, name)[1:]]
    own = [atoms for name in training for atoms in ase.io.read(data / name / "hot.xyz", ":")]
    rattled = errors_on(hot, *host.predict(model, hot))
    own_hot = errors_on(own, *host.predict(model, own))
    small = ase.io.read(data / LAST, ":")
    elsewhere = errors_on(small, *host.predict(model, small))
    wrong, soft = frequency_errors(model, data, held_out)
    own_wrong, own_soft = frequency_errors(model, data, training)
    return {
        "freq_mae": wrong,
        "soft": soft,
        "F_rmse": rattled["F_rmse"],
        "slope": rattled["slope"],
        "own_freq_mae": own_wrong,
        "own_soft": own_soft,
        "own_F": own_hot["F_rmse"],
        "own_slope": own_hot["slope"],
        "elsewhere_F": elsewhere["F_rmse"],
        "elsewhere_E": elsewhere["E_rmse"],
        "valid_F": errors_on(valid, *host.predict(model, valid))["F_rmse"],
    }


def foundation(data: Path, folder: Path) -> Path:
    """The pretrained model."""
    model: Path = host.model_in(folder)
    if not model.exists():
        folder.mkdir(parents=True, exist_ok=True)
        frames = ase.io.read(data / "pretraining.xyz", ":")
        order = np.random.default_rng(0).permutation(len(frames))
        ase.io.write(folder / "valid.xyz", [frames[n] for n in order[:50]])
        ase.io.write(folder / "train.xyz", [frames[n] for n in order[50:]])
        host.pretrain(folder, len(order) - 50)
    return model


def fine_tune(
    run: Run,
    data: Path,
    folder: Path,
    pretrained: Path,
    training: list[str],
    seed: int,
    rate: float,
) -> dict[str, float]:
    """Train, unless it is done; gives steps and CPU time."""
    finished = folder / "cost.json"
    if finished.exists():
        return json.loads(finished.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    frames, valid = [], []
    for name in training:
        cells = supercells(data, name)
        frames += cells[: 1 + run.rattled]
        valid += cells[-VALIDATION:]
        if run.displaced:
            file = "random.xyz" if run.random else "displaced.xyz"
            frames += ase.io.read(data / name / file, ":")
    if run.replay:
        old = ase.io.read(data / "pretraining.xyz", ":")
        random = np.random.default_rng([seed, 8])
        frames += [old[n] for n in random.choice(len(old), REPLAYED, replace=False)]
    ase.io.write(folder / "train.xyz", frames)
    ase.io.write(folder / "valid.xyz", valid)
    labels = None
    if run.hessians:
        file = "random_params.yaml" if run.random else "phonopy_params.yaml"
        sets = [data / name / file for name in training]
        labels = folder / "labels.npz"
        piwsl("hessian", "--from_phonopy", *sets, "--out", labels, "--overwrite")
    epochs = round(STEPS * run.times * BATCH / len(frames))
    cost: dict[str, float] = host.fine_tune(folder, pretrained, labels, epochs, BATCH, rate, seed)
    finished.write_text(json.dumps(cost))
    return cost


def main() -> None:
    """Run what is not in the table yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cheap-python", default=sys.executable)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS), metavar="RUN")
    parser.add_argument("--rate", type=float, default=RATE, help="learning rate")
    options = parser.parse_args()
    out, table = options.out.resolve(), options.out / "crystals.csv"
    data = out / "data"
    script = Path(__file__).with_name("_crystals_data.py")
    if not (data / LAST).exists():
        subprocess.run([options.cheap_python, str(script), str(data)], check=True)
    runs = out / host.NAME
    pretrained = foundation(data, runs / "foundation")
    for seed in options.seeds:
        training, held_out = split(data, seed)
        for name in options.runs:
            rows = pd.read_csv(table).to_dict("records") if table.exists() else []
            run, file = RUNS[name], pretrained
            rate = options.rate if run is not None else 0.0
            facts = {"host": host.NAME, "run": name, "seed": seed, "rate": rate}
            if any(all(row[key] == value for key, value in facts.items()) for row in rows):
                continue
            cost: dict[str, float] = {}
            if run is not None:
                folder = runs / f"{re.sub(r'[^a-zA-Z0-9]+', '_', name)}-{seed}-{rate:g}"
                cost = fine_tune(run, data, folder, pretrained, training, seed, rate)
                file = host.model_in(folder)
            row = facts | test(host.load(file), data, training, held_out) | cost
            print(row, flush=True)
            pd.DataFrame([*rows, row]).to_csv(table, index=False, float_format="%.5g")
    means = pd.read_csv(table).groupby(["host", "run", "rate"], sort=False).agg(["mean", "std"])
    print(means.drop(columns="seed", level=0).round(3).to_string())


if __name__ == "__main__":
    main()
