"""Errors that some of several ranks meet, and all end with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from ..terms.distributed import n_ranks
from ._errors import user_error
from .config import DataError


class OfAnotherRank(DataError):
    """An error that rank 0 raises, too."""


@contextlib.contextmanager
def all_or_none() -> Iterator[None]:
    """End all ranks where one meets an error in the block, so that none waits for it.

    All ranks must enter the block, and one rank alone needs no other. Rank 0 raises its own error,
    or else the first one of the others. These raise :class:`OfAnotherRank`, but for an error that
    is not the user's and that rank 0 does not have: its traceback is to be seen.

    Raises:
        DataError: on rank 0, that of another rank.
    """
    own: Exception | None = None
    try:
        yield
    except Exception as error:
        own = error
    problems = _gathered(own)
    found = {rank: problem for rank, problem in enumerate(problems) if problem is not None}
    if not found:
        return
    rank, problem = next(iter(found.items()))
    if len(problems) == 1 or torch.distributed.get_rank() == 0:
        raise own or DataError(f"{problem} (on rank {rank})")
    if own is not None and rank != 0 and user_error(own) is None:
        raise own
    raise OfAnotherRank(problem) from own


def _gathered(own: Exception | None) -> list[str | None]:
    """The errors of all ranks, in words."""
    words = None
    if own is not None:
        of_user = user_error(own)
        words = f"{type(own).__name__}: {own}" if of_user is None else str(of_user)
    if n_ranks() == 1:
        return [words]
    problems: list[str | None] = [None] * n_ranks()
    torch.distributed.all_gather_object(problems, words)
    return problems
