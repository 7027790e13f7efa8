"""What a pool holds, in some lines for the end of a run."""

from __future__ import annotations

import argparse
import collections
import shlex
from pathlib import Path

import numpy as np

from .bond_coverage import Distances
from .settings import PoolSettings
from .trajectories import Trajectories

#: pairs of elements that are listed
_PAIRS = 8
#: failures that are spelt out
_SHOWN = 5
#: a bonded pair of which less is covered is pointed out
_WELL_COVERED = 0.95
#: times 1/friction from which on a temperature is that of the thermostat within a tenth
_EQUILIBRATED = 2.0


def summarise(
    done: Trajectories,
    settings: PoolSettings,
    bonded: list[Distances],
    notes: list[str],
    options: argparse.Namespace,
) -> str:
    """Lines on the pool.

    Args:
        done: what was run.
        settings: how.
        bonded: distances of bonded atoms, given and of the pool.
        notes: lines on the given frames.
        options: of the command, with the names of files and calculator.
    """
    out = options.out
    n = len(done.collection.structures)
    short = "" if n == settings.n else f", {settings.n} wanted"
    lines = [f"{n} structures{short}"]
    lines += [_temperature(done, temperature) for temperature in settings.temperatures]
    lines += _unequilibrated(settings) + _cut(done)
    if done.failures:
        lines.append(f"  {len(done.failures)} frames passed over, on which the calculator failed")
        lines += [f"    {done.failures[n]}" for n in sorted(done.failures)[:_SHOWN]]
    if done.collection.n_left_out:
        lines.append(
            f"  {done.collection.n_left_out} structures left out: given, excluded or repeated"
        )
    if n < settings.n:
        lines.append(
            "  WARNING: fewer than wanted; begin at more frames, or give a larger --n, lower "
            "--temperatures or a shorter --timestep"
        )
    lines += _ranges(bonded) + _volumes(done)
    lines += [f"  {note}" for note in notes]
    if done.n_before:
        lines.append(f"  {done.n_before} runs were finished before")
    if done.seconds:
        lines.append(f"  {np.mean(done.seconds):.3g} s per run")
    lines.append(f"Pool: {out}")
    if options.figure is not None:
        lines.append(f"Figure: {options.figure}")
    return "\n".join([*lines, *_next(n, out, options.calculator, options.labels)])


def _next(n: int, out: Path, calculator: str, labelled: bool) -> list[str]:
    """What to do with the pool of ``n`` structures."""
    if labelled:
        return [
            f"It has labels of {calculator}: train a model of these on it, or give it to "
            "piwsl weak --cheap_labels"
        ]
    return [
        "Choose what to label, or label it with a cheap method and a correction:",
        f"  piwsl select {out} --n {min(n, 20)} --out chosen.xyz   (--given: labelled before)",
        f"  piwsl weak LABELLED {out} --calculator {shlex.quote(calculator)} --train ... "
        "--out weak.xyz",
    ]


def _unequilibrated(settings: PoolSettings) -> list[str]:
    """A warning of runs that are still near their start, of which velocities alone are warm."""
    times = settings.equilibration * settings.friction
    if times >= _EQUILIBRATED:
        return []
    return [
        f"  WARNING: --equilibration={settings.equilibration:g} is {times:.2g} times 1/--friction: "
        "the structures may be colder or hotter than wanted; the default is five times"
    ]


def _temperature(done: Trajectories, temperature: float) -> str:
    there = [s for s in done.collection.structures if s.run.temperature == temperature]
    if not there:
        return f"  {temperature:g} K: none"
    n_runs = len({s.run.number for s in there})
    n_starts = len({s.run.start for s in there})
    mean = np.mean([s.kinetic_temperature for s in there])
    return (
        f"  {temperature:g} K: {len(there)} structures of {_counted(n_runs, 'run')} from "
        f"{_counted(n_starts, 'frame')}, mean temperature {mean:.0f} K"
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _cut(done: Trajectories) -> list[str]:
    if not done.cut:
        return ["  no run was cut"]
    reasons = collections.Counter((reason, run.temperature) for run, reason in done.cut)
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return [
        f"  {_counted(len(done.cut), 'run')} cut at the last sound structure:",
        *(f"    {count} at {t:g} K: {reason}" for (reason, t), count in ordered),
    ]


def _ranges(bonded: list[Distances]) -> list[str]:
    if not bonded:
        return []
    lines = ["  distances of bonded atoms (Å):"]
    for distances in bonded[:_PAIRS]:
        given, pool = distances.given, distances.pool
        warning = "" if distances.covered >= _WELL_COVERED else "  <- the pool misses some"
        lines.append(
            f"    {distances.pair:<6} given {given.min():.2f} to {given.max():.2f}, "
            f"pool {pool.min():.2f} to {pool.max():.2f}; "
            f"{100 * distances.covered:.0f} % of the given covered{warning}"
        )
    return lines


def _volumes(done: Trajectories) -> list[str]:
    """Of cells, where they changed."""
    cells = [s for s in done.collection.structures if s.atoms.pbc.all()]
    starts = [s.run.atoms.get_volume() / len(s.atoms) for s in cells]
    pool = [s.atoms.get_volume() / len(s.atoms) for s in cells]
    if np.allclose(starts, pool):
        return []
    return [
        f"  volume per atom (Å³): starts {min(starts):.2f} to {max(starts):.2f}, "
        f"pool {min(pool):.2f} to {max(pool):.2f}"
    ]
