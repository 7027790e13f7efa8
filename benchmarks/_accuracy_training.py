"""One run of ``accuracy.py``: MACE's own trainer with PIWSL, in process, then the test.

A worker process imports MACE once and runs many trainings.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import ase.io
import numpy as np
import torch
from _accuracy_cells import DATASETS, Arguments
from _accuracy_data import Sources, computed, draw, labelled
from _accuracy_hessian import write_probes
from _accuracy_job import Job
from _accuracy_test import load, predict, test, validation
from mace import tools
from mace.cli import run_train

from piwsl_plugins.mace import _hooks


def initialise_worker() -> None:
    """Hook PIWSL into MACE, once per process."""
    torch.set_num_threads(1)
    _hooks.activate()


@contextlib.contextmanager
def _timed_epochs() -> Iterator[dict[str, float]]:
    """CPU time and steps of MACE's ``train_one_epoch``, with PIWSL, inside the context."""
    module = sys.modules["mace.tools.train"]
    original, total = module.train_one_epoch, {"cpu_s": 0.0, "steps": 0}

    @functools.wraps(original)
    def timed(*args: Any, **keywords: Any) -> None:
        start = time.process_time()
        original(*args, **keywords)
        total["cpu_s"] += time.process_time() - start
        total["steps"] += len(keywords["data_loader"])

    with mock.patch.object(module, "train_one_epoch", timed):
        yield total


def train(arguments: dict[str, Any], folder: Path) -> tuple[Path, dict[str, float]]:
    """MACE's trainer in this process; its output goes to ``train.out``.

    Returns:
        the model file; ``cpu_s`` and ``steps`` of the epochs, without set-up and validation.

    Raises:
        RuntimeError: if MACE refuses the arguments; the message is MACE's.
    """
    flags = [
        f"--{name}" if value is True and name == "ema" else f"--{name}={value}"
        for name, value in {**arguments, "name": "model", "work_dir": folder}.items()
    ]
    # MACE adds handlers and a filter in every run
    logging.getLogger().handlers.clear()
    logging.getLogger().filters.clear()
    with (
        (folder / "train.out").open("w") as output,
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
        _timed_epochs() as total,
        # mace-torch 0.3.16, cli/run_train.py, compiles each model in a ``try``; nobody needs it
        mock.patch.object(run_train, "jit", None),
    ):
        try:
            run_train.run(tools.build_default_arg_parser().parse_args(flags))
        except SystemExit as error:
            output.flush()
            last = (folder / "train.out").read_text().strip().splitlines()[-1:]
            raise RuntimeError(" ".join(last)) from error
    for name in ("checkpoints", "results"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return folder / "model.model", total


def run(job: Job, sources: Sources, runs: Path) -> dict[str, Any]:
    """Train, test and keep the result, unless it is there.

    Args:
        job: what to do.
        sources: the data.
        runs: folder with one folder per run.

    Returns:
        the measured numbers; or ``{"error": …}`` with the last line of what went wrong, in
        which case the run is repeated next time.
    """
    folder = runs / job.digest(sources)
    result = folder / "result.json"
    if result.exists():
        return json.loads(result.read_text())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        measured = _measure(job, sources, runs, folder)
    except Exception as error:
        (folder / "error.txt").write_text(traceback.format_exc())
        last = (str(error).strip().splitlines() or [""])[-1]
        return {"error": f"{type(error).__name__}: {last} ({folder})"}
    unfinished = folder / "result.unfinished"
    unfinished.write_text(json.dumps(measured, indent=1))
    os.replace(unfinished, result)
    return measured


def _settings(arguments: Arguments) -> str:
    """MACE's arguments as JSON, files by their names alone."""
    names = {
        name: Path(value).name if isinstance(value, Path) or "/" in str(value) else value
        for name, value in arguments.items()
    }
    return json.dumps(names, default=str, sort_keys=True)


def _measure(job: Job, sources: Sources, runs: Path, folder: Path) -> dict[str, Any]:
    start = time.perf_counter()
    cell = job.effective_cell
    arguments = job.arguments()
    data = labelled(sources, cell.dataset, "train", cell.level)
    subset = draw(cell, job.seed, len(data.frames))
    shift = 0.0
    if job.first is not None:
        pretrained = runs / job.first.digest(sources) / "model.model"
        if not pretrained.exists():
            raise RuntimeError(f"its pretraining has failed: {job.first.name}")
        arguments["foundation_model"] = pretrained
        # MACE 0.3.16 keeps the pretrained model's E0s, so the constant is taken off the labels
        frames = [data.frames[number] for number in subset.train]
        shift = float(np.mean(data.energies[subset.train] - predict(load(pretrained), frames)[0]))
    labels = "E+F" if cell.level == "cheap_forces" else cell.labels
    training = data.structures(subset.train + subset.new, labels, shift)
    if cell.copies:
        dataset = DATASETS[cell.dataset]
        copies = computed(sources, f"{dataset.train}.displaced", dataset.reference)
        for numbers in subset.copies[: cell.copies]:
            training += copies.structures(numbers, labels, shift)
    ase.io.write(folder / "train.xyz", training)
    ase.io.write(folder / "valid.xyz", data.structures(subset.valid, cell.labels, shift))
    arguments |= {"train_file": folder / "train.xyz", "valid_file": folder / "valid.xyz"}
    if job.variant.hessian is not None:
        hessians = sources.hessian_file(cell.dataset, cell.level)
        if cell.probes:
            assert hessians is not None
            frames = [data.frames[number] for number in subset.train]
            write_probes(hessians, frames, cell.probes, job.seed, folder / "probes.npz")
            hessians = folder / "probes.npz"
        arguments["piwsl_hessian_file"] = hessians
    path, total = train(arguments, folder)
    model = load(path)
    return {
        **test(job, sources, model, shift),
        **validation(job, sources, model, shift),
        "steps": total["steps"],
        "cpu_ms_per_step": 1e3 * total["cpu_s"] / total["steps"],
        "train_cpu_s": total["cpu_s"],
        "wall_s": time.perf_counter() - start,
        "settings": _settings(arguments),
    }
