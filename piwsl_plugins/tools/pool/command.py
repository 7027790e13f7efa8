"""The command ``piwsl pool``."""

from __future__ import annotations

import argparse
import dataclasses
import os

from .. import states
from ..calculators import CalculatorSource
from ..options import chosen
from ..outputs import alone, refuse_existing
from .arguments import build_parser, check, outputs_of
from .settings import PoolSettings


def main(given: list[str]) -> None:
    """Run the command with its arguments."""
    # before anything that starts threads is loaded; a choice of the user's stays
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    options = build_parser().parse_args(given)
    check(options)
    settings = PoolSettings(**chosen(options, PoolSettings))
    source = CalculatorSource.parse(options.calculator, options.head, charges=options.charges)
    source.require_package()
    with alone(*outputs_of(options)):
        _make(options, settings, source)


def _make(options: argparse.Namespace, settings: PoolSettings, source: CalculatorSource) -> None:
    """Run the dynamics, and write the pool."""
    from ..loaded_calculators import prepare
    from ..runs import Run
    from .bond_coverage import compare_bonds
    from .output import write_pool
    from .starts import read_starts
    from .summary import summarise
    from .trajectories import run_all

    cells = settings.pressure is not None
    starts = read_starts(options.data, options.index, options.exclude, cells, states.named(options))
    prepare(source, list(starts.frames.values()), options.device)
    made_with = {"calculator": source.identity, **dataclasses.asdict(settings)}
    run = Run(options.out, made_with, options.overwrite, refuse_existing)
    where = options.device, options.workers, options.executor
    done = run_all(source, starts, settings, run, *where)
    structures = done.collection.in_order(settings.temperatures)
    frames = list(starts.frames.values())
    if options.figure is not None:
        from .energies import relative_energies
        from .figure import draw

        energies = relative_energies(source, frames, structures, *where)
        draw(options.figure, frames, structures, energies)
    write_pool(run.out, structures, options.labels)
    run.end()
    bonded = compare_bonds([f.atoms for f in frames], [s.atoms for s in structures])
    print(summarise(done, settings, bonded, starts.notes, options))
