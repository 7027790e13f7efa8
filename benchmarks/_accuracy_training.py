"""One run of ``accuracy.py``: MACE's own trainer with PIWSL, in process, then the test.

A worker process imports MACE once and runs many trainings; what MACE keeps from run to run
(log handlers, default dtype) is reset here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import logging
import math
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import ase
import numpy as np
from _accuracy_data import Sources, cheap, digest, draw, labelled, reference, write
from _accuracy_regimes import (
    BASE,
    BATCH_SIZE,
    DATASETS,
    FINAL_LR,
    FINETUNED,
    MODEL,
    OPTIMISER,
    POOL_FRAMES,
    VALIDATION_FRAMES,
    Arguments,
    Cell,
    Variant,
    pretraining,
)

#: validations per training, besides the first
VALIDATIONS = 10
#: atoms per batch when a model is tested
TEST_ATOMS = 600


@dataclasses.dataclass(frozen=True)
class Job:
    """One training: a variant in a cell, with a seed, for ``stretch`` times the cell's steps.

    ``overrides`` are MACE arguments of the command line, on top of all others, but not for
    pretraining.
    """

    cell: Cell
    variant: Variant
    seed: int
    stretch: float = 1.0
    overrides: tuple[tuple[str, str], ...] = ()

    @property
    def effective_cell(self) -> Cell:
        """The cell with the variant's changes."""
        return dataclasses.replace(self.cell, **self.variant.changes)

    @property
    def name(self) -> str:
        """For messages."""
        stretch = f" ×{self.stretch:g}" if self.stretch != 1 else ""
        return f"{self.cell.name}: {self.variant.name}{stretch}, seed {self.seed}"

    @property
    def first(self) -> Job | None:
        """The training that must come before: that of the pretrained model."""
        cell = pretraining(self.effective_cell)
        return None if cell is None else Job(cell, BASE, self.seed)

    def epochs(self) -> tuple[int, int]:
        """Number of epochs and interval of validation; the last epoch is validated."""
        cell = self.effective_cell
        per_epoch = cell.frames // BATCH_SIZE
        epochs = max(2, round(cell.steps * self.stretch / per_epoch))
        interval = max(1, round((epochs - 1) / VALIDATIONS))
        return 1 + interval * max(1, round((epochs - 1) / interval)), interval

    def arguments(self) -> dict[str, Any]:
        """MACE's arguments, but for the paths."""
        cell = self.effective_cell
        epochs, interval = self.epochs()
        merged = {**MODEL, **OPTIMISER, **cell.arguments, **self.variant.arguments}
        merged.update(self.overrides)
        merged.setdefault("lr_scheduler_gamma", FINAL_LR ** (1 / (epochs - 1)))
        if cell.pretrained is not None:
            for name in ("num_channels", "max_L", "max_ell", "correlation", "num_interactions"):
                merged.pop(name, None)
            e0s: Arguments = FINETUNED
        else:
            own = cell.level in ("reference", "cheap_forces")
            e0s = {"E0s": DATASETS[cell.dataset].e0s if own else "average"}
        return {
            "loss": "piwsl",
            "seed": self.seed,
            "batch_size": BATCH_SIZE,
            "valid_batch_size": BATCH_SIZE,
            "max_num_epochs": epochs,
            "eval_interval": interval,
            "patience": epochs,
            "scheduler": "ExponentialLR",
            "device": "cpu",
            "skip_evaluate_heads": "Default",
            **e0s,
            **merged,
        }

    def digest(self, sources: Sources, md: dict[str, float]) -> str:
        """Identifies what the result depends on: settings, frames, content of the files."""
        cell = self.effective_cell
        train, test = DATASETS[cell.dataset].train, DATASETS[cell.dataset].test
        curvature = sources.curvature_file(cell.dataset) if self.variant.curvature else None
        known = {
            "arguments": self.arguments(),
            "cell": [cell.labels, cell.level, cell.frames, cell.leading],
            "files": [digest(sources.frames_file(stem)) for stem in (train, test)],
            "curvature": curvature and digest(curvature),
            "valid": VALIDATION_FRAMES,
            "pool": self.variant.pool and POOL_FRAMES,
            "pretrained": self.first and self.first.digest(sources, md),
            "dynamics": md if cell.dynamics else None,
            "mace-torch": importlib.metadata.version("mace-torch"),
        }
        text = json.dumps(known, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def initialise_worker() -> None:
    """Import MACE and hook PIWSL in, once per process."""
    import torch

    torch.set_num_threads(1)
    from piwsl_plugins.mace.hooks import activate

    activate()
    import mace.cli.run_train  # noqa: F401


@contextlib.contextmanager
def _own_log() -> Iterator[None]:
    """Take away the handlers and filters that ``mace.tools.setup_logger`` adds for ever."""
    root = logging.getLogger()
    handlers, filters, level = list(root.handlers), list(root.filters), root.level
    try:
        yield
    finally:
        for handler in [one for one in root.handlers if one not in handlers]:
            root.removeHandler(handler)
            handler.close()
        root.filters[:] = filters
        root.setLevel(level)


class Stopwatch:
    """CPU time and steps of the training epochs alone, without set-up and validation."""

    def __init__(self) -> None:
        self.seconds, self.steps = 0.0, 0

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Measure MACE's ``train_one_epoch``, with PIWSL, inside the context."""
        module = sys.modules["mace.tools.train"]
        original = module.train_one_epoch

        @functools.wraps(original)
        def timed(*args: Any, **keywords: Any) -> None:
            start = time.process_time()
            original(*args, **keywords)
            self.seconds += time.process_time() - start
            self.steps += len(keywords["data_loader"])

        with mock.patch.object(module, "train_one_epoch", timed):
            yield


def _without_compiled_model() -> Any:
    """mace-torch 0.3.16, cli/run_train.py, compiles each model in a ``try``; nobody needs it."""
    import mace.cli.run_train

    return mock.patch.object(mace.cli.run_train, "jit", None)


def train(arguments: dict[str, Any], folder: Path) -> tuple[Path, Stopwatch]:
    """MACE's trainer in this process; its output goes to ``train.out``.

    Returns:
        the model file, and the time.

    Raises:
        RuntimeError: if MACE refuses the arguments; the message is MACE's.
    """
    import mace.cli.run_train
    from mace import tools

    flags = [
        f"--{name}" if value is True and name == "ema" else f"--{name}={value}"
        for name, value in {**arguments, "name": "model", "work_dir": folder}.items()
    ]
    stopwatch = Stopwatch()
    with (
        (folder / "train.out").open("w") as output,
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
        _own_log(),
        stopwatch.watch(),
        _without_compiled_model(),
    ):
        try:
            mace.cli.run_train.run(tools.build_default_arg_parser().parse_args(flags))
        except SystemExit as error:
            output.flush()
            last = (folder / "train.out").read_text().strip().splitlines()[-1:]
            raise RuntimeError(" ".join(last)) from error
    for name in ("checkpoints", "results"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return folder / "model.model", stopwatch


def predict(model: Any, frames: list[ase.Atoms]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Energies (n_frames,) in eV and forces in eV/Å of a MACE model, in batches."""
    import torch
    from mace import data, tools
    from mace.tools import torch_geometric

    # the dtype of the graphs; a worker's first task may come before MACE sets it
    torch.set_default_dtype(next(model.parameters()).dtype)
    numbers = tools.AtomicNumberTable([int(z) for z in model.atomic_numbers])
    graphs = [
        data.AtomicData.from_config(
            data.config_from_atoms(atoms, key_specification=data.KeySpecification()),
            z_table=numbers,
            cutoff=float(model.r_max),
            heads=model.heads,
        )
        for atoms in frames
    ]
    size = max(1, TEST_ATOMS // max(len(atoms) for atoms in frames))
    energies, forces = [], []
    for batch in torch_geometric.dataloader.DataLoader(graphs, batch_size=size, shuffle=False):
        output = model(batch.to_dict(), compute_force=True)
        energies.append(output["energy"].detach().numpy())
        forces.append(output["forces"].detach().numpy())
    ends = np.cumsum([len(atoms) for atoms in frames])[:-1]
    return np.concatenate(energies), np.split(np.concatenate(forces), ends)


def errors(
    frames: list[ase.Atoms],
    energies: np.ndarray,
    forces: list[np.ndarray],
    true_energies: np.ndarray,
    true_forces: list[np.ndarray],
) -> dict[str, float]:
    """Errors in meV/atom and meV/Å, and the force slope Σ F·F_ref / Σ F_ref²."""
    energy = 1e3 * (energies - true_energies) / np.array([len(atoms) for atoms in frames])
    found, true = np.concatenate(forces), np.concatenate(true_forces)
    force = 1e3 * (found - true)
    return {
        "E_rmse": float(np.sqrt(np.mean(energy**2))),
        "E_mae": float(np.mean(np.abs(energy))),
        "E_centred": float(np.std(energy)),
        "F_rmse": float(np.sqrt(np.mean(force**2))),
        "F_mae": float(np.mean(np.abs(force))),
        "slope": float(np.sum(found * true) / np.sum(true**2)),
    }


def _test(job: Job, sources: Sources, model: Any, shift: float) -> dict[str, float]:
    """Errors on the test file, against the reference (the cheap method, for a model of it)."""
    cell = job.effective_cell
    stem = DATASETS[cell.dataset].test
    true = labelled(sources, stem, "cheap" if cell.level == "cheap" else "reference")
    energies, forces = predict(model, true.frames)
    if cell.level == "delta":
        lower = cheap(sources, stem)
        energies = energies + lower.energies
        forces = [mine + low for mine, low in zip(forces, lower.forces, strict=True)]
    return errors(true.frames, energies + shift, forces, true.energies, true.forces)


def _load(path: Path) -> Any:
    import torch

    return torch.load(path, weights_only=False, map_location="cpu")


def _reset_peak_memory() -> None:
    """Linux: let ``VmHWM`` begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak_memory() -> float:
    """Peak resident memory since the reset, MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return math.nan


def run(job: Job, sources: Sources, runs: Path, md: dict[str, float]) -> dict[str, Any]:
    """Train, test and keep the result, unless it is there.

    Args:
        job: what to do.
        sources: the data.
        runs: folder with one folder per run.
        md: settings of the dynamics.

    Returns:
        the measured numbers; or ``{"error": …}`` with the last line of what went wrong, in
        which case the run is repeated next time.
    """
    folder = runs / job.digest(sources, md)
    result = folder / "result.json"
    if result.exists():
        return json.loads(result.read_text())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        measured = _measure(job, sources, runs, folder, md)
    except Exception as error:
        (folder / "error.txt").write_text(traceback.format_exc())
        last = (str(error).strip().splitlines() or [""])[-1]
        return {"error": f"{type(error).__name__}: {last}", "folder": str(folder)}
    unfinished = folder / "result.unfinished"
    unfinished.write_text(json.dumps(measured, indent=1))
    os.replace(unfinished, result)
    return measured


def _measure(
    job: Job, sources: Sources, runs: Path, folder: Path, md: dict[str, float]
) -> dict[str, Any]:
    start = time.perf_counter()
    cell = job.effective_cell
    arguments = job.arguments()
    data = labelled(sources, DATASETS[cell.dataset].train, cell.level)
    subset = draw(cell, job.seed, len(data.frames))
    shift = 0.0
    if job.first is not None:
        pretrained = runs / job.first.digest(sources, md) / "model.model"
        if not pretrained.exists():
            raise RuntimeError(f"its pretraining has failed: {job.first.name}")
        arguments["foundation_model"] = pretrained
        # MACE 0.3.16 keeps the pretrained model's E0s, so the constant is taken off the labels
        frames = [data.frames[number] for number in subset.train]
        shift = float(np.mean(data.energies[subset.train] - predict(_load(pretrained), frames)[0]))
    labels = "E+F" if cell.level == "cheap_forces" else cell.labels
    write(folder / "train.xyz", data, subset.train, labels, shift)
    write(folder / "valid.xyz", data, subset.valid, cell.labels, shift)
    arguments |= {"train_file": folder / "train.xyz", "valid_file": folder / "valid.xyz"}
    if job.variant.pool:
        write(folder / "pool.xyz", data, subset.pool, "")
        arguments["piwsl_unlabeled_file"] = folder / "pool.xyz"
    if job.variant.curvature:
        arguments["piwsl_curvature_file"] = sources.curvature_file(cell.dataset)
    _reset_peak_memory()
    path, stopwatch = train(arguments, folder)
    peak = _peak_memory()
    model = _load(path)
    measured: dict[str, Any] = _test(job, sources, model, shift)
    if cell.dynamics:
        from _accuracy_dynamics import survival

        test = reference(sources, DATASETS[cell.dataset].test).frames
        measured |= survival(model, test, job.seed, **md)
    return measured | {
        "steps": stopwatch.steps,
        "cpu_ms_per_step": 1e3 * stopwatch.seconds / stopwatch.steps,
        "train_cpu_s": stopwatch.seconds,
        "wall_s": time.perf_counter() - start,
        "peak_MiB": peak,
        "settings": json.dumps(arguments, default=str, sort_keys=True),
    }
