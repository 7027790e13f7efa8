"""Errors of ``nequip-train`` in one line, with one rank or several."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn

Hook = Callable[[type[BaseException], BaseException, "TracebackType | None"], object]


def fail(message: str) -> NoReturn:
    """End the program with exit code 2 and one line, which one process of each machine writes.

    What is found before Lightning has joined the ranks, each of them finds.
    """
    if os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")) == "0":
        _say(message)
    raise SystemExit(2)


def user_error(error: BaseException | None) -> BaseException | None:
    """Among an error and its causes, the one that tells the user what to do, or None."""
    from ..errors import InputError

    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error


def shortened(otherwise: Hook) -> Hook:
    """A ``sys.excepthook`` that ends with one line where the user can mend the error.

    Hydra and Lightning pass errors on as they are, since NequIP 0.19 sets ``HYDRA_FULL_ERROR``
    (``nequip/scripts/train.py``), so that they would end in long tracebacks.

    Args:
        otherwise: called for other errors.
    """

    def hook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        found = user_error(error)
        if found is None:
            otherwise(kind, error, traceback)
        elif not _are_joined():
            fail(str(found))
        elif _is_told_by_another(found):
            # Lightning kills rank 0, in the middle of its line, where another rank's code is not 0
            # (lightning/fabric/strategies/launchers/subprocess_script.py)
            raise SystemExit(0)
        else:
            _say(str(found))
            raise SystemExit(2)

    return hook


def _say(message: str) -> None:
    """Write one line where torch's ``init_process_group`` does not hold it back.

    Its own hook (``torch/distributed/distributed_c10d.py``) calls the one before with a buffer in
    place of ``sys.stderr``, which is lost if that ends the program.
    """
    line = f"nequip-train: error: {' '.join(message.split())}"
    print(line, file=sys.__stderr__ if _are_joined() else sys.stderr, flush=True)


def _are_joined() -> bool:
    """Whether this is one of several ranks that know each other."""
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    return distributed is not None and distributed.is_initialized()


def _is_told_by_another(error: BaseException) -> bool:
    """Whether rank 0 has the same error: what options are wrong, all ranks know."""
    import torch

    from ..errors import SettingsError
    from .ranks import OfAnotherRank

    rank = torch.distributed.get_rank()
    return rank != 0 and isinstance(error, (SettingsError, OfAnotherRank))
