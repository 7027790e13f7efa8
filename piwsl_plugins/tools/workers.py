"""Where structures are worked on: the options of every verb that works on many."""

from __future__ import annotations

import argparse
import re

from ..errors import InputError

PROCESSES, MPI = "processes", "mpi"
_DASK = re.compile(r"dask://([^\s:/]+):(\d+)")


def add_options(group: argparse._ActionsContainer) -> None:
    """The options of every verb that works on many structures."""
    group.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes, of one thread each unless OMP_NUM_THREADS says otherwise (default: 1)",
    )
    group.add_argument(
        "--executor",
        default=PROCESSES,
        metavar="WHERE",
        help="'processes' of this machine; 'dask://HOST:PORT', the workers of a dask scheduler; or "
        "'mpi', the ranks of 'mpiexec -n N python -m mpi4py.futures -m piwsl_plugins ...' "
        "(default: processes)",
    )


def check_options(options: argparse.Namespace) -> None:
    """Refuse options of :func:`add_options` that cannot be used.

    Raises:
        InputError: naming the option.
    """
    workers, executor = options.workers, options.executor
    if workers < 1:
        raise InputError(f"--workers={workers}: allowed is 1 or more")
    if executor not in (PROCESSES, MPI) and not _DASK.fullmatch(executor):
        raise InputError(
            f"--executor={executor}: allowed is {PROCESSES}, {MPI} or dask://HOST:PORT"
        )
    if executor != PROCESSES and workers != 1:
        raise InputError(
            f"--workers={workers} is the number of processes of this machine; with "
            f"--executor={executor} leave it out"
        )
