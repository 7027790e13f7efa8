"""Accuracy of PIWSL's variants against well tuned baselines, at equal steps and equal time.

    python benchmarks/accuracy.py --data ../shared/data --out RESULTS_DIR [--hessians DIR]

runs everything that is not there yet and writes ``runs.csv`` (one row per run), ``summary.csv``
(means and standard deviations over seeds) and figures. Small MACE models are trained by MACE's
own trainer with the plugin hooked in. What is compared is in ``_accuracy_cells.py`` and
``_accuracy_variants.py``; ``--list`` prints it. To screen, and to confirm:

    … --seeds 0 1
    … --seeds 0 1 2 3 4 --variants base 'hessian*' --cells '6-hessians/*'

Every run has the steps of its cell, whatever the number of frames. The baseline is then trained
once more for as many steps as fit into the time of each variant, by the CPU time per training
step measured here, rounded up to a step of a ladder. Finished runs are kept; a run is known by
a digest of its settings and data, not by its name, so a renamed variant is not repeated. Rows of
``benchmarks/results`` are finished runs, too: ``--keep`` writes those of this call there, a file
for each cell, and ``--kept DIR`` names another folder. A changed package is not noticed: use a new
folder, and another for ``--kept``. Where the data folder has no Hessians, they are
``TRAIN_FILE*.npz`` in ``--hessians``, made by ``piwsl hessian``; energies and forces of the cheap
methods, for the rivals, come from a Python that has tblite, and matscipy for silicon
(``_accuracy_cheap.py``); data that is made here, from one that has what its script needs
(``_survival_data.py``, ``_solids_data.py``).
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd
from _accuracy_cells import CELLS, STRETCHES
from _accuracy_data import DataError, Sources
from _accuracy_job import Job
from _accuracy_summary import draw_figures, summarise
from _accuracy_training import initialise_worker, run
from _accuracy_variants import BASE, variants
from filelock import BaseFileLock, FileLock, Timeout

#: measured costs may exceed a step of the ladder by this much
TIMING_TOLERANCE = 1.05
#: finished runs that are part of the repository
KEPT = Path(__file__).with_name("results")
#: columns of a run that no file of finished runs has
NOT_KEPT = ["settings", "wall_s", "train_cpu_s", "E_rmse", "E_mae"]
#: what a run is, in ``runs.csv``
FACTS = ("regime", "dataset", "labels", "frames", "variant", "stretch", "seed", "digest")
#: a run and what it measured, by the name of the run
Done = dict[str, tuple[Job, dict[str, Any]]]


def command_line(description: str | None) -> argparse.ArgumentParser:
    """The options of a training, without those of a single script."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with the data files")
    add("--hessians", type=Path, help="folder with files of 'piwsl hessian'")
    add("--out", type=Path, required=True, help="folder for runs and results")
    add("--cells", nargs="+", default=["*"], help="patterns of REGIME/DATASET/LABELS/FRAMES")
    add("--variants", nargs="+", default=["*"], help="patterns of names")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    add("--steps", type=int, help="optimiser steps of every run")
    add("--set", nargs="+", default=[], metavar="NAME=VALUE", help="MACE arguments, as lr=0.003")
    add(
        "--equal-time",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also train the baseline for the time of each variant",
    )
    add("--kept", type=Path, default=KEPT, help="folder with finished runs, a file for each cell")
    add("--keep", action="store_true", help="write the runs of this call there")
    add("--workers", type=int, default=os.cpu_count(), help="processes")
    add(
        "--cheap-python",
        default=sys.executable,
        help="a Python that has the methods",
    )
    add("--list", action="store_true", help="print what would run, and stop")
    add("--summarise", action="store_true", help="use finished runs only")
    return parser


def read_options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options of this call, checked."""
    options = parser.parse_args()
    for setting in options.set:
        if "=" not in setting:
            parser.error(f"--set {setting}: write NAME=VALUE, for instance lr=0.003")
    options.out = options.out.resolve()
    return options


def sources_of(options: argparse.Namespace) -> Sources:
    """Where the data is."""
    hessians = options.hessians and options.hessians.resolve()
    return Sources(options.data.resolve(), hessians, options.out / "cheap", options.cheap_python)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name is one of the shell patterns."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def select(options: argparse.Namespace, sources: Sources) -> list[Job]:
    """The runs asked for, seed by seed; variants without their Hessian labels are named."""
    overrides = tuple(tuple(setting.split("=", 1)) for setting in options.set)
    cells = [cell for cell in CELLS if matches(cell.name, options.cells)]
    if options.steps:
        cells = [dataclasses.replace(cell, steps=options.steps) for cell in cells]
    jobs = [
        Job(cell, variant, seed, overrides=overrides)
        for seed in options.seeds
        for cell in cells
        for variant in variants(cell)
        if matches(variant.name, options.variants)
    ]
    if not options.list:
        for dataset in dict.fromkeys(job.cell.dataset for job in jobs):
            sources.make(dataset)
    missing = {
        job.cell.dataset
        for job in jobs
        if job.variant.hessian is not None and sources.hessian_file(job.cell.dataset) is None
    }
    for dataset in sorted(missing):
        print(f"left out: Hessian variants of {dataset}, which has no file in --hessians")
    return [job for job in jobs if job.variant.hessian is None or job.cell.dataset not in missing]


def read_kept(folder: Path) -> dict[str, dict[str, Any]]:
    """What finished runs measured, by their digests."""
    kept = {}
    for file in sorted(folder.glob("*.csv")):
        for measured in pd.read_csv(file, dtype={"digest": str}).to_dict("records"):
            kept[measured["digest"]] = {
                name: value
                for name, value in measured.items()
                if name not in FACTS and not pd.isna(value)
            }
    return kept


def write_kept(rows: pd.DataFrame, folder: Path) -> None:
    """Add rows to the files of their cells; a run that is there already is replaced."""
    folder.mkdir(exist_ok=True)
    for cell, new in rows.groupby(list(FACTS[:4]), sort=False):
        file = folder / ("_".join(str(part) for part in cell).replace("+", "") + ".csv")
        old = [pd.read_csv(file, dtype={"digest": str})] if file.exists() else []
        both = pd.concat([*old, new.drop(columns=NOT_KEPT, errors="ignore")])
        both = both.drop_duplicates(["digest", "variant", "stretch"], keep="last")
        both.sort_values(["variant", "stretch", "seed"]).to_csv(
            file, index=False, float_format="%.5g"
        )


def unfinished(jobs: Iterable[Job], sources: Sources, options: argparse.Namespace) -> list[Job]:
    """Those whose numbers are not at hand, so that a model needs to be trained."""
    runs, kept = options.out / "runs", read_kept(options.kept)
    digests = ((job, job.digest(sources)) for job in jobs)
    return [
        job
        for job, digest in digests
        if digest not in kept and not (runs / digest / "result.json").exists()
    ]


def run_with_pretraining(
    jobs: Sequence[Job], sources: Sources, options: argparse.Namespace
) -> tuple[Done, Done]:
    """Run what is missing, after the pretraining that it needs.

    Returns:
        pretraining, and the jobs.
    """
    missing = [] if options.summarise else unfinished(jobs, sources, options)
    first = [job.first for job in missing if job.first]
    for job in [*missing, *first]:
        sources.prepare(job.effective_cell, hessians=job.variant.hessian is not None)
    return run_all(first, sources, options), run_all(jobs, sources, options)


def run_all(jobs: Sequence[Job], sources: Sources, options: argparse.Namespace) -> Done:
    """Run what is missing in worker processes, and say how it went.

    Jobs that are the same by their settings run once.
    """
    runs, kept = options.out / "runs", read_kept(options.kept)
    by_digest = {job.digest(sources): job for job in jobs}
    results = {digest: kept[digest] for digest in by_digest if digest in kept} | {
        digest: run(job, sources, runs)
        for digest, job in by_digest.items()
        if (runs / digest / "result.json").exists()
    }
    missing = [] if options.summarise else [d for d in by_digest if d not in results]
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    trained = _trained([(d, by_digest[d]) for d in missing], sources, runs, options.workers)
    for number, (digest, measured) in enumerate(trained, start=1):
        results[digest] = measured
        text = measured.get("error") or (
            f"E {measured['E_centred']:.2f} meV/atom, F {measured['F_rmse']:.1f} meV/Å, "
            f"{measured['cpu_ms_per_step']:.1f} ms/step, {measured['wall_s']:.0f} s"
        )
        print(f"{number}/{len(missing)} {by_digest[digest].name}: {text}", flush=True)
    found = {job.name: (job, results.get(job.digest(sources), {})) for job in jobs}
    return {name: pair for name, pair in found.items() if pair[1]}


def _trained(
    jobs: Sequence[tuple[str, Job]], sources: Sources, runs: Path, workers: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each run measured, with its digest, in the order in which they end.

    A single worker is this process.
    """
    if not jobs:
        return
    if workers == 1:
        initialise_worker()
        for digest, job in jobs:
            yield digest, run(job, sources, runs)
        return
    with ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=initialise_worker,
    ) as pool:
        futures = {pool.submit(run, job, sources, runs): digest for digest, job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()


def row(job: Job, measured: dict[str, Any], sources: Sources) -> dict[str, Any]:
    """A line of ``runs.csv``."""
    facts = {name: getattr(job.cell, name) for name in FACTS[:4]}
    facts |= {"variant": job.variant.name, "stretch": job.stretch, "seed": job.seed}
    return facts | {"digest": job.digest(sources)} | measured


def equal_time_jobs(done: Done) -> list[Job]:
    """Baselines with as many steps as fit into the time of each variant, on the ladder."""
    costs: dict[str, dict[str, list[float]]] = {}
    for job, measured in done.values():
        if "error" in measured:
            continue
        cell = costs.setdefault(job.cell.name, {})
        cell.setdefault(job.variant.name, []).append(measured["cpu_ms_per_step"])
    jobs = []
    for job, _ in done.values():
        if job.variant == BASE and BASE.name in costs.get(job.cell.name, {}):
            cell = costs[job.cell.name]
            ratios = {ladder(mean(cost) / mean(cell[BASE.name])) for cost in cell.values()}
            jobs += [dataclasses.replace(job, stretch=ratio) for ratio in sorted(ratios - {1.0})]
    return jobs


def ladder(ratio: float) -> float:
    """The step of the ladder that a cost ratio is rounded up to; the last one at most."""
    return next((s for s in (1.0, *STRETCHES) if ratio <= s * TIMING_TOLERANCE), STRETCHES[-1])


def lock(out: Path) -> BaseFileLock:
    """Keep the results folder to this process while the lock that is returned lives."""
    out.mkdir(parents=True, exist_ok=True)
    held = FileLock(out / "lock")
    try:
        held.acquire(timeout=0)
    except Timeout:
        sys.exit(f"--out {out} is in use by another accuracy.py; wait for it, or use --workers")
    return held


def main() -> None:
    """Run what is missing; write tables and figures."""
    options = read_options(command_line(__doc__))
    out, sources = options.out, sources_of(options)
    try:
        jobs = select(options, sources)
        if not jobs:
            sys.exit("nothing matches --cells and --variants; see --list")
        if options.list:
            print("\n".join(job.name for job in jobs))
            return
        held = lock(out)  # noqa: F841
        pretrained, done = run_with_pretraining(jobs, sources, options)
        if options.equal_time:
            more = run_with_pretraining(equal_time_jobs(done), sources, options)
            pretrained, done = pretrained | more[0], done | more[1]
    except DataError as error:
        sys.exit(str(error))
    everything = pretrained | done
    failed = {name: pair[1]["error"] for name, pair in everything.items() if "error" in pair[1]}
    done = {name: pair for name, pair in done.items() if name not in failed}
    if done:
        rows = pd.DataFrame([row(*pair, sources) for pair in done.values()])
        if options.keep:
            write_kept(rows, options.kept)
        rows.to_csv(out / "runs.csv", index=False, float_format="%.6g")
        summary = summarise(rows, ladder)
        summary.to_csv(out / "summary.csv", index=False, float_format="%.4g")
        draw_figures(rows, out)
        print(f"{len(rows)} runs: {out / 'runs.csv'}, {out / 'summary.csv'}")
    if failed:
        sys.exit("\n".join(f"failed: {name}: {why}" for name, why in failed.items()))


if __name__ == "__main__":
    main()
