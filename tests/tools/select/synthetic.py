"""Structures and descriptors of any number, made in no time; run as a program, the memory used."""

from __future__ import annotations

import resource
import sys
import time

import numpy as np
from ase import Atoms

from piwsl_plugins.frames.reading import Frame
from piwsl_plugins.tools.select.coverage import follow
from piwsl_plugins.tools.select.design import Information, d_optimal
from piwsl_plugins.tools.select.features import compute

NUMBERS = np.array([1] * 10 + [6] * 7 + [8] * 3)
WIDTH = 500


def frames(number: int) -> list[Frame]:
    """Structures of 20 atoms, of three elements."""
    random = np.random.default_rng(0)
    return [
        Frame(Atoms(NUMBERS, positions), f"frame {n}")
        for n, positions in enumerate(random.normal(size=(number, len(NUMBERS), 3)))
    ]


def descriptor(structures):
    """A nonlinear function of positions, of ``WIDTH`` numbers."""
    directions = np.random.default_rng(1).normal(size=(3, WIDTH))
    return [np.cos(s.atoms.positions @ directions) for s in structures]


def peak() -> float:
    """Most memory used so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(structures: int, chosen: int) -> None:
    """Describe, choose and follow; print what it took."""
    import scipy.linalg  # noqa: F401

    begin = peak()
    made = frames(structures)
    with_frames = peak()
    times = [time.perf_counter()]
    features = compute(made, descriptor, 1, "processes", lambda amount: None)
    times.append(time.perf_counter())
    order = d_optimal(Information(features), range(structures), chosen)
    times.append(time.perf_counter())
    follow(features, [], structures, order)
    times.append(time.perf_counter())
    print(
        f"begin {begin:.0f} frames {with_frames:.0f} peak {peak():.0f} MiB; components, choice, "
        f"course: {' '.join(f'{t:.1f}' for t in np.diff(times))} s"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
