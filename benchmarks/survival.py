"""How long aspirin holds in NVE dynamics with models of few frames: the paper's claim for PaiNN-GF.

    python benchmarks/survival.py --data ../shared/data --out RESULTS_DIR [--temperature 500]

trains the cells of regime 8 as ``accuracy.py`` does, in the same folder and with the same options,
and runs ``--replicas`` replicas with each model, all in one batch, from as many test frames, until
they fail or reach ``--length``; the seed draws the velocities, which are the same for all variants.
The baseline is trained for the time of each variant, too. Labels are of GFN2-xTB, made here by
``--cheap-python`` (``_survival_data.py``). Written is ``survival.csv``, one row per model;
``--keep`` adds the rows to ``benchmarks/results/dynamics/survival.csv``, whose rows are finished
runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from _accuracy_data import DataError, Sources, digest, molecules
from _accuracy_job import Job
from _accuracy_test import load
from _survival_dynamics import Dynamics, survival
from accuracy import (
    FACTS,
    Done,
    command_line,
    equal_time_jobs,
    lock,
    read_options,
    row,
    run_with_pretraining,
    select,
    sources_of,
)

#: what a run of dynamics is, beside the model
RUN = ["temperature", "length", "timestep", "bond_factor", "replicas"]
#: of the columns of a training, those that are kept beside the dynamics
KEPT = [*FACTS, "steps", "cpu_ms_per_step", "E_centred", "F_rmse", "slope"]


def options_of_call() -> argparse.Namespace:
    """The command line: that of ``accuracy.py`` and the dynamics."""
    parser = command_line(__doc__)
    parser.set_defaults(cells=["8-dynamics/*/30"])
    parser.add_argument("--temperature", type=float, default=500, help="of the start, in K")
    parser.add_argument("--length", type=float, default=50, help="of the dynamics, in ps")
    parser.add_argument("--replicas", type=int, default=20)
    parser.add_argument(
        "--model",
        nargs=3,
        action="append",
        default=[],
        metavar=("NAME", "SEED", "FILE"),
        help="also a model trained otherwise, as on weak labels; its row has the name",
    )
    return read_options(parser)


def dynamics(
    model_file: Path, seed: int, sources: Sources, settings: Dynamics, n: int
) -> dict[str, Any]:
    """Run ``n`` replicas of one model, and say how long they held."""
    frames = molecules(sources, "aspirin_gfn2_test")
    starts = frames[:: len(frames) // n][:n]
    begin = time.process_time()
    found = survival(load(model_file), starts, settings, seed)
    times, held = found.times, found.times >= settings.length
    atoms = len(frames[0])
    return {
        "survival_ps": times.mean(),
        "median_ps": float(np.median(times)),
        "failed": int((~held).sum()),
        "drift_meV_atom": 1e3 * np.abs(found.change[held]).mean() / atoms if held.any() else np.nan,
        "dynamics_cpu_s": time.process_time() - begin,
        "times_ps": " ".join(f"{value:g}" for value in times),
    }


class Table:
    """The rows of finished runs of dynamics, with the settings of this call and others."""

    def __init__(self, options: argparse.Namespace, run: dict[str, Any]) -> None:
        """Read those of the repository and those of the results folder."""
        self._run, self._own = run, options.out / "survival.csv"
        self._kept = options.kept / "dynamics" / "survival.csv"
        read = [
            pd.read_csv(file, dtype={"digest": str})
            for file in (self._kept, self._own)
            if file.exists()
        ]
        self._rows = pd.concat(read) if read else pd.DataFrame(columns=[*KEPT, *RUN])

    def find(self, digest: str) -> dict[str, Any] | None:
        """The row of a training and these settings, or None."""
        rows = self._rows[self._rows["digest"] == digest]
        for column in RUN:
            rows = rows[rows[column] == self._run[column]]
        return None if rows.empty else rows.iloc[0].to_dict()

    def add(self, line: dict[str, Any]) -> None:
        """Add a row, on disk, too."""
        self._rows = pd.concat([self._rows, pd.DataFrame([line])], ignore_index=True)
        self.write(self._own)

    def write(self, file: Path | None = None) -> None:
        """Write all rows, without a file into that of the repository."""
        file = file or self._kept
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = self._rows.infer_objects().drop_duplicates(["digest", *RUN])
        rows.sort_values([*FACTS[:6], "seed"]).to_csv(file, index=False, float_format="%.5g")


def main() -> None:
    """Train what is missing, run its dynamics, and write the table."""
    options = options_of_call()
    sources = sources_of(options)
    torch.set_num_threads(1)
    settings = Dynamics(options.temperature, options.length)
    run = dataclasses.asdict(settings) | {"replicas": options.replicas}
    table = Table(options, run)
    held = lock(options.out)  # noqa: F841
    # a model is needed, not only its errors
    options.kept = options.out / "none"

    def simulate(name: str, facts: dict[str, Any], model_file: Path) -> None:
        """Run the dynamics of a model, and keep the row."""
        found = dynamics(model_file, facts["seed"], sources, settings, options.replicas)
        table.add(facts | run | found)
        print(
            f"{name}: {found['survival_ps']:.2f} ps, {found['failed']} of {options.replicas} "
            f"fail, {found['dynamics_cpu_s']:.0f} s",
            flush=True,
        )

    def complete(jobs: list[Job]) -> Done:
        """Train those without dynamics, run these, and give what is measured of all."""
        missing = [job for job in jobs if table.find(job.digest(sources)) is None]
        for name, (job, measured) in run_with_pretraining(missing, sources, options)[1].items():
            if "error" in measured:
                print(f"failed: {name}: {measured['error']}")
                continue
            facts = row(job, measured, sources)
            file = options.out / "runs" / facts["digest"] / "model.model"
            simulate(name, {key: facts[key] for key in KEPT}, file)
        rows = ((job, table.find(job.digest(sources))) for job in jobs)
        return {job.name: (job, measured) for job, measured in rows if measured}

    try:
        jobs = select(options, sources)
        if options.list:
            print("\n".join(job.name for job in jobs))
            return
        done = complete(jobs)
        if options.equal_time:
            complete(equal_time_jobs(done))
        for name, seed, file in options.model:
            facts = {"variant": name, "seed": int(seed), "digest": digest(Path(file))}
            if table.find(facts["digest"]) is None:
                simulate(name, facts, Path(file))
    except DataError as error:
        sys.exit(str(error))
    if options.keep:
        table.write()


if __name__ == "__main__":
    main()
