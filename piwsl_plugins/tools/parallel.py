"""A function of structures, run on many of them: in this process, or in several."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from .errors import RunError, ToolError, reason_of
from .structures import Frame


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one structure: a result or why there is none, and the time (s)."""

    frame: Frame
    result: Any
    failure: str
    seconds: float


def outcomes(
    function: Callable[[Frame], Any], frames: Sequence[Frame], workers: int
) -> Iterator[Outcome]:
    """Run ``function`` on structures; each outcome comes as soon as it is there.

    Args:
        function: can be pickled, and has what is slow to load loaded at its first call. Its
            exceptions are failures of one structure, but a :class:`ToolError` ends everything.
        frames: the structures.
        workers: number of processes; 1 is this one.

    Raises:
        ToolError: of ``function``.
        RunError: if a process dies.
    """
    if workers == 1 or len(frames) <= 1:
        for frame in frames:
            yield _attempt(function, frame)
        return
    executor = concurrent.futures.ProcessPoolExecutor(
        min(workers, len(frames)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(function,),
    )
    try:
        futures = [executor.submit(_attempt_here, frame) for frame in frames]
        for future in concurrent.futures.as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise RunError(
            "a worker process died (out of memory, or a crash inside the calculator); finished "
            "frames are kept, and the same command goes on; try fewer --workers"
        ) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _attempt(function: Callable[[Frame], Any], frame: Frame) -> Outcome:
    start = time.perf_counter()
    result, failure = None, ""
    try:
        result = function(frame)
    except ToolError:
        raise
    except Exception as error:
        failure = reason_of(error)
    return Outcome(frame, result, failure, time.perf_counter() - start)


_function: Callable[[Frame], Any] | None = None


def _begin(function: Callable[[Frame], Any]) -> None:
    """Start of a worker process, which ends with its parent, however that ends."""
    global _function
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _attempt_here(frame: Frame) -> Outcome:
    assert _function is not None
    return _attempt(_function, frame)
