"""A process of ``mace_run_train``: how it ends with an error, and what it knows of its loss."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from typing import NoReturn

#: set while a run with --loss=piwsl reads data, to the names of the labels that its loss reads; an
#: environment variable, because the loader's worker processes read data too, and inherit it however
#: they are started
_SELECTED = "_PIWSL_PLUGINS_SELECTED"
#: where launchers say which of a run's processes this is: torchrun, Slurm, Open MPI, MPICH
_RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
#: seconds that other ranks than the first leave it to say what is wrong with all
_GRACE = 30.0


def fail(message: str) -> NoReturn:
    """End the program as argparse does for a wrong argument: one message, exit status 2.

    Of several ranks the first says it, and its end ends the others; if it goes on, because
    something is wrong for them alone, they say it themselves.
    """
    ranks = [os.environ[name] for name in _RANKS if name in os.environ]
    if ranks and ranks[0] != "0":
        time.sleep(_GRACE)
    print(f"mace_run_train: error: {message}", file=sys.stderr)
    raise SystemExit(2)


def select(labels: Iterable[str]) -> None:
    """Let this process, and those that it starts, know that ``--loss=piwsl`` reads these labels."""
    os.environ[_SELECTED] = ",".join(labels)


def deselect() -> None:
    """Take back :func:`select`, of a run before this one in the same process."""
    os.environ.pop(_SELECTED, None)


def is_selected() -> bool:
    """Whether :func:`select` has been called, where MACE hands over no arguments."""
    return _SELECTED in os.environ


def labels_read() -> list[str]:
    """Names of the labels that the run's loss reads, likewise."""
    return os.environ[_SELECTED].split(",")
