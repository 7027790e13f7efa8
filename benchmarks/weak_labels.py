"""Weak labels against what else can be done with a few labels and a cheap method.

    python benchmarks/weak_labels.py --data ../shared/data --out RESULTS_DIR [--dataset ethanol_pbe]
        [--labels E+F] [--frames 10] [--seeds 0 1 2] [--runs labels weak …] [--hot hot.xyz]

For each seed other frames are labelled, and a pool is made by dynamics with GFN2-xTB from these
frames (``piwsl pool``), never from the set's own geometries. ``piwsl weak`` labels it; small MACE
models (those of ``accuracy.py``) are trained by MACE's own trainer and tested on the set's test
file, with ``--hot`` on another file too. Needs tblite in this Python. Cost is the CPU time of all
trainings that a row needs, corrections and pretraining counted in, and that of dynamics and cheap
labels; the row "labels, equal cost" has as many steps as fit into the cost of the weak labels. One
row per run in ``weak_labels.csv``; finished runs are kept.

Rows: the labels alone, also for as long as weak labels cost, and with 2, 4, 8 times the frames;
weak labels; the corrections with the cheap method at run time; an ensemble of models of the labels
alone that labels the pool (arXiv 2503.14293); one model with a head for each method, from scratch;
a model pretrained on the pool's cheap labels, fine-tuned by itself and with MACE's multihead replay
of the pool, by its labels or by the pretrained model's; a larger model made likewise, and a small
one of the pool as labelled by it. With energies alone: the energies and the cheap method's forces
(arXiv 2505.01590). Where frames have Hessians of their method, these beside the labels and weak
labels.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
from _accuracy_cells import DATASETS
from _accuracy_training import initialise_worker
from _weak_labels_files import CHEAP, GROUNDS, LABELS, prepare
from _weak_labels_runs import Runs
from _weak_labels_test import test


def main() -> None:
    """Run what is not in the table yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dataset", choices=GROUNDS, default="ethanol_pbe")
    parser.add_argument("--cheap", choices=CHEAP, default="GFN2-xTB", help="the cheap method")
    parser.add_argument("--cheap-python", default=sys.executable, help="a Python that has it")
    parser.add_argument("--labels", choices=LABELS, default="E+F")
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", nargs="+", help="names of rows (default: all)")
    parser.add_argument("--hot", type=Path, help="more test frames (_accuracy_pyscf.py)")
    options = parser.parse_args()
    options.out = options.out.resolve()
    table = options.out / "weak_labels.csv"
    tests = {"": options.data / f"{DATASETS[options.dataset].test}.xyz"}
    if options.hot:
        tests["hot_"] = options.hot
    initialise_worker()
    cell = {name: getattr(options, name) for name in ("dataset", "cheap", "labels", "frames")}
    for seed in options.seeds:
        every = Runs(options, seed, prepare(options, seed)).every()
        for name, run in every.items():
            if options.runs and name not in options.runs:
                continue
            predict, seconds = run()
            row = {**cell, "run": name, "seed": seed}
            rows = pd.read_csv(table).to_dict("records") if table.exists() else []
            rows = [r for r in rows if any(r[k] != v for k, v in row.items())]
            for prefix, file in tests.items():
                row |= {prefix + key: value for key, value in test(predict, file).items()}
            rows.append({**row, "cpu_s": seconds})
            pd.DataFrame(rows).to_csv(table, index=False, float_format="%.5g")
            print(rows[-1], flush=True)
    means = pd.read_csv(table).drop(columns="seed").groupby([*cell, "run"], sort=False)
    print(means.agg(["mean", "std"]).round(3).to_string())


if __name__ == "__main__":
    main()
