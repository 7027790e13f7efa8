"""Accuracy of PIWSL's variants against well tuned baselines, at equal steps and equal time.

    python benchmarks/accuracy.py --data ../shared/data --curvature CURVATURE_DIR --out RESULTS_DIR

runs everything that is not there yet and writes ``runs.csv`` (one row per run), ``summary.csv``
(means and standard deviations over seeds) and figures. Small MACE models are trained by MACE's
own trainer with the plugin hooked in. Regimes, cells and variants are in
``_accuracy_regimes.py``; ``--list`` prints them. To screen, and to confirm:

    … --seeds 0 1
    … --seeds 0 1 2 3 4 --variants base 'curvature*' --cells '5-curvature/*'

Every run has the steps of its cell, whatever the number of frames. The baseline is then trained
once more for as many steps as fit into the time of each variant, by the CPU time per training
step measured here, rounded up to a step of a ladder. Finished runs are kept; a run is known by
a digest of its settings and data, not by its name, so a renamed variant is not repeated. A
changed package is not noticed: use a new folder. Curvature labels, ``TRAIN_FILE*.npz``, are made
by ``piwsl-curvature``; energies and forces of the cheap methods, for the rivals, by a Python
that has tblite, and matscipy for silicon (``_accuracy_cheap.py``).
"""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import fnmatch
import multiprocessing
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from statistics import mean
from typing import Any, TextIO

import pandas as pd
from _accuracy_data import NEEDS_CHEAP, DataError, Sources
from _accuracy_regimes import BASE, CELLS, STRETCHES, variants
from _accuracy_summary import draw_figures, summarise
from _accuracy_training import Job, initialise_worker, run
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

#: measured costs may exceed a step of the ladder by this much
TIMING_TOLERANCE = 1.05


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the data files")
    parser.add_argument("--curvature", type=Path, help="folder with the curvature labels")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and results")
    parser.add_argument("--regimes", nargs="+", default=["*"], help="patterns, such as '5*'")
    parser.add_argument(
        "--cells", nargs="+", default=["*"], help="patterns: REGIME/DATASET/LABELS/FRAMES"
    )
    parser.add_argument("--variants", nargs="+", default=["*"], help="patterns of names")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, help="optimiser steps of every run")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="MACE arguments on top of all others, for instance lr=0.003",
    )
    parser.add_argument(
        "--equal-time",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also train the baseline for the time of each variant",
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--replicas", type=int, default=8, help="of molecular dynamics")
    parser.add_argument("--md-length", type=float, default=2.0, help="ps")
    parser.add_argument("--temperature", type=float, default=500.0, help="K")
    parser.add_argument(
        "--cheap-python", default=sys.executable, help="a Python that has tblite and matscipy"
    )
    parser.add_argument("--list", action="store_true", help="print what would run, and stop")
    parser.add_argument("--summarise", action="store_true", help="use finished runs only")
    options = parser.parse_args()
    for setting in options.set:
        if "=" not in setting:
            parser.error(f"--set {setting}: write NAME=VALUE, for instance lr=0.003")
    return options


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name is one of the shell patterns."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def select(options: argparse.Namespace, sources: Sources) -> list[Job]:
    """The runs asked for, seed by seed; variants without their curvature labels are named."""
    overrides = tuple(tuple(setting.split("=", 1)) for setting in options.set)
    jobs, missing = [], set()
    for seed in options.seeds:
        for cell in CELLS:
            if not (matches(cell.regime, options.regimes) and matches(cell.name, options.cells)):
                continue
            if options.steps:
                cell = dataclasses.replace(cell, steps=options.steps)
            for variant in variants(cell):
                if not matches(variant.name, options.variants):
                    continue
                if variant.curvature and sources.curvature_file(cell.dataset) is None:
                    missing.add(cell.dataset)
                    continue
                jobs.append(Job(cell, variant, seed, overrides=overrides))
    for dataset in sorted(missing):
        print(f"left out: curvature variants of {dataset}, which has no file in --curvature")
    return jobs


def row(job: Job, measured: dict[str, Any]) -> dict[str, Any]:
    """A line of ``runs.csv``."""
    cell = job.cell
    return {
        "regime": cell.regime,
        "dataset": cell.dataset,
        "labels": cell.labels,
        "frames": cell.frames,
        "variant": job.variant.name,
        "stretch": job.stretch,
        "seed": job.seed,
        **measured,
    }


class Runner:
    """Runs jobs in worker processes and collects their rows."""

    def __init__(self, options: argparse.Namespace, sources: Sources) -> None:
        self.options, self.sources = options, sources
        self.runs = options.out / "runs"
        self.md = {
            "replicas": options.replicas,
            "picoseconds": options.md_length,
            "temperature": options.temperature,
        }
        self.done: dict[str, tuple[Job, dict[str, Any]]] = {}
        self.failures: dict[str, str] = {}

    def finished(self, job: Job) -> bool:
        """Whether a job's result is on disk."""
        return (self.runs / job.digest(self.sources, self.md) / "result.json").exists()

    def __call__(self, title: str, jobs: Sequence[Job]) -> None:
        """Run what is missing; jobs that are the same by their settings run once."""
        unique = {job.digest(self.sources, self.md): job for job in jobs}
        by_digest: dict[str, dict[str, Any]] = {}
        missing = []
        for digest, job in unique.items():
            if self.finished(job):
                by_digest[digest] = run(job, self.sources, self.runs, self.md)
            elif not self.options.summarise:
                missing.append((digest, job))
        if missing:
            by_digest |= self._run(title, missing)
        for job in jobs:
            measured = by_digest.get(job.digest(self.sources, self.md), {})
            if "E_rmse" in measured:
                self.done[job.name] = job, measured

    def _run(self, title: str, jobs: list[tuple[str, Job]]) -> dict[str, dict[str, Any]]:
        os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
        results = {}
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with (
            ProcessPoolExecutor(
                min(self.options.workers, len(jobs)),
                mp_context=multiprocessing.get_context("spawn"),
                initializer=initialise_worker,
            ) as pool,
            Progress(*columns) as progress,
        ):
            bar = progress.add_task(title, total=len(jobs))
            futures = {
                pool.submit(run, job, self.sources, self.runs, self.md): (digest, job)
                for digest, job in jobs
            }
            for future in as_completed(futures):
                digest, job = futures[future]
                results[digest] = measured = future.result()
                progress.advance(bar)
                if "error" in measured:
                    self.failures[job.name] = f"{measured['error']} ({measured['folder']})"
                    progress.print(f"failed: {job.name}: {measured['error']}", markup=False)
                else:
                    progress.print(
                        f"{job.name}: E {measured['E_centred']:.2f} meV/atom, "
                        f"F {measured['F_rmse']:.1f} meV/Å, slope {measured['slope']:.3f}, "
                        f"{measured['cpu_ms_per_step']:.1f} ms/step, {measured['wall_s']:.0f} s",
                        markup=False,
                    )
        return results

    def frame(self) -> pd.DataFrame:
        """All runs of the cells so far."""
        done = [row(*one) for one in self.done.values() if one[0].cell.regime != "pretraining"]
        return pd.DataFrame(done)


def equal_time_jobs(done: Iterable[tuple[Job, dict[str, Any]]]) -> list[Job]:
    """Baselines with as many steps as fit into the time of each variant, on the ladder."""
    costs: dict[str, dict[str, list[float]]] = {}
    baselines: dict[str, list[Job]] = {}
    for job, measured in done:
        if job.cell.regime != "pretraining" and job.stretch == 1:
            cell = costs.setdefault(job.cell.name, {})
            cell.setdefault(job.variant.name, []).append(measured["cpu_ms_per_step"])
            if job.variant == BASE:
                baselines.setdefault(job.cell.name, []).append(job)
    jobs = []
    for name, same_cell in baselines.items():
        base = mean(costs[name][BASE.name])
        stretches = {ladder(mean(cost) / base) for cost in costs[name].values()} - {1.0}
        jobs += [
            dataclasses.replace(job, stretch=stretch)
            for stretch in sorted(stretches)
            for job in same_cell
        ]
    return jobs


def ladder(ratio: float) -> float:
    """The step of the ladder that a cost ratio is rounded up to; the last one at most."""
    return next((s for s in (1.0, *STRETCHES) if ratio <= s * TIMING_TOLERANCE), STRETCHES[-1])


def lock(out: Path) -> TextIO:
    """Keep the results folder to this process while the file that is returned lives."""
    out.mkdir(parents=True, exist_ok=True)
    file = (out / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(
            f"--out {out} is in use by another accuracy.py; wait for it, or use more --workers"
        )
    return file


def main() -> None:
    """Run what is missing; write tables and figures."""
    options = read_options()
    out = options.out = options.out.resolve()
    curvature = options.curvature and options.curvature.resolve()
    sources = Sources(options.data.resolve(), curvature, out / "cheap")
    try:
        jobs = select(options, sources)
        if not jobs:
            sys.exit("nothing matches --regimes, --cells and --variants; see --list")
        if options.list:
            for job in jobs:
                print(job.name)
            return
        if not options.summarise:
            held = lock(out)  # noqa: F841
            pretrained = [job.first for job in jobs if job.first]
            for dataset in {
                job.cell.dataset
                for job in [*jobs, *pretrained]
                if job.effective_cell.level in NEEDS_CHEAP
            }:
                sources.label_cheaply(dataset, options.cheap_python)
    except DataError as error:
        sys.exit(str(error))
    runner = Runner(options, sources)
    runner("pretraining", [job.first for job in jobs if job.first])
    runner("equal steps", jobs)
    if options.equal_time:
        runner("equal time", equal_time_jobs(list(runner.done.values())))
    rows = runner.frame()
    if len(rows):
        rows.to_csv(out / "runs.csv", index=False, float_format="%.6g")
        summary = summarise(rows, ladder)
        summary.to_csv(out / "summary.csv", index=False, float_format="%.4g")
        draw_figures(rows, out)
        print(f"{len(rows)} runs: {out / 'runs.csv'}, {out / 'summary.csv'}")
    if runner.failures:
        sys.exit("\n".join(f"failed: {name}: {why}" for name, why in runner.failures.items()))


if __name__ == "__main__":
    main()
