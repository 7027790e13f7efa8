"""The command ``piwsl select``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...errors import InputError
from .. import states
from ..outputs import alone
from .arguments import build_parser, check, outputs_of

if TYPE_CHECKING:
    from .distinct_structures import DistinctStructures
    from .features import Features


def main(given: list[str]) -> None:
    """Run the command with its arguments."""
    # before anything that starts threads is loaded; a choice of the user's stays
    for threads in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ.setdefault(threads, "1")
    options = build_parser().parse_args(given)
    check(options)
    with alone(*outputs_of(options)):
        _select(options)


def _select(options: argparse.Namespace) -> None:
    """Choose, and write what was chosen."""
    from ...frames.reading import elements_of
    from ...progress import stage
    from .coverage import follow
    from .descriptors import descriptor, not_seen
    from .distinct_structures import read_pool
    from .features import compute
    from .output import write_frames
    from .soap import CUTOFF
    from .summary import summarise

    pool = read_pool(options.pool, options.given, states.named(options))
    if options.n > pool.candidates:
        raise InputError(
            f"--n={options.n}: {options.pool} has {pool.candidates} structures to choose from "
            f"({pool.size}, less {pool.already_given} identical to given ones and "
            f"{pool.repeated} that are there twice)"
        )
    options.cutoff = options.cutoff or CUTOFF
    describe = descriptor(
        options.model, options.head, options.device, options.cutoff, elements_of(pool.frames)
    )
    labelled = range(pool.candidates, len(pool.frames))
    with stage("descriptors", len(pool.frames)) as advance:
        features = compute(pool.frames, describe, options.workers, options.executor, advance)
    order = _choose(options, pool, features)
    with stage("what they span", len(order)) as advance:
        course = follow(features, labelled, pool.pooled, order, advance)
    chance = None
    if order and options.method != "random":
        from .rivals import random

        drawn = random(pool.candidates, options.n, options.seed)
        with stage("compared with chance", len(drawn)) as advance:
            chance = follow(features, labelled, pool.pooled, drawn, advance)
    if order:
        chosen = {
            pool.indices[structure]: {
                "select_rank": rank,
                "select_gain": float(gain),
                "select_index": pool.indices[structure],
            }
            for rank, (structure, gain) in enumerate(zip(order, course.gains), start=1)
        }
        remaining = frozenset(pool.indices).difference(chosen)
        write_frames(options.pool, chosen, options.out, options.rest, remaining)
    if options.figure is not None:
        from .figure import draw

        draw(options.figure, course, chance, options.method)
    notes = not_seen(describe, pool.frames)
    print(summarise(options, pool, features, course, chance, notes))


def _choose(
    options: argparse.Namespace, pool: DistinctStructures, features: Features
) -> Sequence[int]:
    """The structures in the order chosen."""
    from ...progress import stage
    from .design import Information, d_optimal
    from .rivals import farthest_points, random

    if options.method == "random":
        return random(pool.candidates, options.n, options.seed)
    if options.method == "fps":
        return farthest_points(features, pool.candidates, options.n)
    information = Information(features)
    information.add_all(range(pool.candidates, len(pool.frames)))
    with stage("choosing", options.n) as advance:
        return d_optimal(information, range(pool.candidates), options.n, advance)
