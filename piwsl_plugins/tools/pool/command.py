"""The command ``piwsl pool``."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..calculators import CalculatorSource
from ..errors import InputError, RunError
from ..options import chosen
from .arguments import build_parser, check
from .settings import PoolSettings

if TYPE_CHECKING:
    from ase import Atoms

    from ..labelling import Labelled
    from ..structures import Frame
    from .trajectories import Trajectory


def main(given: list[str]) -> None:
    """Run the command with its arguments."""
    # before anything that starts threads is loaded; a choice of the user's stays
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    options = build_parser().parse_args(given)
    check(options)
    settings = PoolSettings(**chosen(options, PoolSettings))
    source = CalculatorSource.parse(options.calculator, options.head)
    source.require_package()
    if options.out.exists() and not options.overwrite:
        raise InputError(f"{options.out} exists; give another --out, or --overwrite to replace it")

    from ..labelling import Store, label
    from ..structures import elements_of
    from .trajectories import Dynamics, plan

    frames, notes = _starts(options, settings)
    runs = plan(frames, settings)
    digest = [frame.key for frame in frames]
    run = {"calculator": source.identity, **dataclasses.asdict(settings), "start": digest}
    store = Store(options.out, run, options.overwrite, _no_output)
    done = label(
        runs,
        Dynamics(source, elements_of(frames), settings, options.device),
        store,
        "dynamics",
        source.called,
        options.workers,
        skip_failed=True,
        executor=options.executor,
    )
    structures, energies = _structures(done, options.exclude)
    if not structures:
        raise RunError(f"no run of {options.data} lasted to its first structure: {_cuts(done)}")
    _write(options.out, structures)
    store.end()
    if options.figure is not None:
        _draw(options.figure, frames, done, structures, energies)
    notes += [f"{len(done.failed)} runs could not begin:"] if done.failed else []
    notes += [f"  {one.frame.where}: {one.failure}" for one in done.failed]
    print("\n".join([*notes, *_summary(options, settings, frames, done, structures)]))


def _starts(options: argparse.Namespace, settings: PoolSettings) -> tuple[list[Frame], list[str]]:
    from ..structures import read_frames

    given = read_frames(options.data, options.index)
    frames = [frame for frame in given if len(frame.atoms) > 1]
    notes = []
    if len(frames) < len(given):
        notes.append(f"{len(given) - len(frames)} single atoms of {options.data} left out")
    if not frames:
        raise InputError(f"{options.data}: there are no frames but single atoms")
    for frame in frames:
        if settings.pressure is not None and not frame.atoms.pbc.all():
            raise InputError(
                f"{frame.where}: --pressure={settings.pressure:g} needs cells that are periodic in "
                "all directions; leave it out"
            )
    return frames, notes


def _no_output(path: Path) -> tuple[str, dict[str, Any]]:
    """The output file says nothing of runs: it is written when all are finished."""
    raise InputError(f"{path} exists; give another --out, or --overwrite to replace it")


def _structures(done: Labelled, exclude: Sequence[Path]) -> tuple[list[Atoms], list[float]]:
    """The pool in the order of the runs, and the energies (eV), without what is held out."""
    from ...core.frame_checks import geometry_key
    from ..structures import read_frames

    excluded = [frame.atoms for path in exclude for frame in read_frames(path)]
    excluded += [run.atoms for run in done.frames]
    known = {geometry_key(atoms.numbers, atoms.positions) for atoms in excluded}
    structures, energies = [], []
    for run, arrays in zip(done.frames, done.arrays, strict=True):
        for positions, cell, energy, time in zip(
            *(arrays[name] for name in ("positions", "cells", "energies", "times")), strict=True
        ):
            atoms = run.atoms.copy()
            atoms.set_cell(cell)
            atoms.positions = positions
            if geometry_key(atoms.numbers, atoms.positions) in known:
                continue
            if run.config_type:
                atoms.info["config_type"] = run.config_type
            atoms.info |= {
                "pool_start": run.start,
                "pool_temperature": run.temperature,
                "pool_time": float(time),
            }
            structures.append(atoms)
            energies.append(float(energy))
    return structures, energies


def _write(path: Path, structures: Sequence[Atoms]) -> None:
    from ase.io import write

    from ..storage import written_whole

    with written_whole(path) as partial:
        write(partial, structures, format="extxyz")


def _cuts(done: Labelled) -> str:
    """Why runs ended early, in words."""
    reasons = [str(arrays["failure"]).partition(" (")[0] for arrays in done.arrays]
    reasons += [one.failure for one in done.failed]
    return ", ".join(f"{reason} {n} times" for reason, n in Counter(filter(None, reasons)).items())


def _draw(
    path: Path,
    frames: Sequence[Frame],
    done: Labelled,
    structures: Sequence[Atoms],
    energies: Sequence[float],
) -> None:
    import numpy as np

    from .figure import draw

    per_atom: dict[float, list[float]] = {}
    for atoms, energy in zip(structures, energies, strict=True):
        per_atom.setdefault(atoms.info["pool_temperature"], []).append(energy / len(atoms))
    starts = [
        float(arrays["start_energy"]) / len(run.atoms)
        for run, arrays in zip(done.frames, done.arrays, strict=True)
    ]
    lowest = min(*starts, *(min(values) for values in per_atom.values()))
    draw(
        path,
        [frame.atoms for frame in frames],
        structures,
        np.array(starts) - lowest,
        {t: np.array(values) - lowest for t, values in per_atom.items()},
    )


def _summary(
    options: argparse.Namespace,
    settings: PoolSettings,
    frames: Sequence[Frame],
    done: Labelled,
    structures: Sequence[Atoms],
) -> list[str]:
    from .coverage import pair_distances, range_ratio

    runs: Sequence[Trajectory] = done.frames  # type: ignore[assignment]
    lines = []
    for temperature in settings.temperatures:
        chosen_runs = [
            (run, arrays)
            for run, arrays in zip(runs, done.arrays, strict=True)
            if run.temperature == temperature
        ]
        n = sum(atoms.info["pool_temperature"] == temperature for atoms in structures)
        n_cut = sum(bool(str(arrays["failure"])) for _, arrays in chosen_runs)
        lines.append(
            f"{temperature:g} K: {n} structures of {len(chosen_runs)} runs, {n_cut} of them cut"
        )
    cuts = _cuts(done)
    if cuts:
        lines.append(f"cut at the last sound structure: {cuts}")
    of_given = pair_distances([frame.atoms for frame in frames])
    ratios = range_ratio(of_given, pair_distances(structures))
    if ratios:
        words = ", ".join(f"{pair} {ratio:.1f}" for pair, ratio in ratios.items())
        lines.append(f"range of short distances beside that of the given frames: {words} times")
    lines.append(f"{options.out}: {len(structures)} of {settings.n} structures")
    lines += [
        "choose what to label, or label all weakly:",
        f"  piwsl select {options.out} --given {options.data} --n 20 --out chosen.xyz",
        f"  piwsl weak {options.data} {options.out} --calculator {options.calculator} --train ...",
    ]
    return lines
