"""A function of structures, run on many of them: in this process, in several, or on a cluster."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from ..errors import InputError, PIWSLError, RunError, reason_of
from ..frames.reading import Frame
from .workers import MPI, PROCESSES

#: seconds until it is said that dask has no scheduler, or no worker
_PATIENCE = 8.0

Function = Callable[[Frame], Any]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one structure: a result or why there is none, and the time (s)."""

    frame: Frame
    result: Any
    failure: str
    seconds: float


def outcomes(
    function: Function, frames: Sequence[Frame], workers: int = 1, executor: str = PROCESSES
) -> Iterator[Outcome]:
    """Run ``function`` on structures; each outcome comes as soon as it is there.

    Args:
        function: can be pickled, and has what is slow to load loaded at its first call. Its
            exceptions are failures of one structure, but a :class:`PIWSLError` ends everything.
        frames: the structures.
        workers: number of processes of this machine; 1 is this one.
        executor: "processes", "mpi" or "dask://host:port".

    Raises:
        PIWSLError: of ``function``.
        InputError: for an executor that cannot be reached.
        RunError: if worker processes die again and again.
    """
    if not frames:
        return iter(())
    if executor == MPI:
        return _with_mpi(function, frames)
    if executor != PROCESSES:
        return _with_dask(function, frames, executor)
    if workers == 1 or len(frames) == 1:
        return (_attempt(function, frame) for frame in frames)
    return _with_processes(function, frames, workers)


def _attempt(function: Function, frame: Frame) -> Outcome:
    start = time.perf_counter()
    result, failure = None, ""
    try:
        result = function(frame)
    except PIWSLError:
        raise
    except Exception as error:
        failure = reason_of(error)
    return Outcome(frame, result, failure, time.perf_counter() - start)


def _with_processes(function: Function, frames: Sequence[Frame], workers: int) -> Iterator[Outcome]:
    """In processes of this machine; where one dies, its structure is begun anew.

    The death of one ends the whole pool, so another takes over what is not finished, what may have
    been in work then as the last. If a pool dies without an outcome, the next has one process, so
    that it is known which structure it was; the others are done before this is an error.
    """
    waiting, n, deadly = list(frames), workers, []
    while waiting:
        pool = concurrent.futures.ProcessPoolExecutor(
            min(n, len(waiting)),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(function,),
        )
        finished: set[int] = set()
        try:
            places = {pool.submit(_attempt_here, f): place for place, f in enumerate(waiting)}
            for future in concurrent.futures.as_completed(places):
                if not isinstance(future.exception(), BrokenProcessPool):
                    finished.add(places[future])
                    yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        waiting = [frame for place, frame in enumerate(waiting) if place not in finished]
        if finished:
            waiting = waiting[n:] + waiting[:n]
        elif n > 1 and len(waiting) > 1:
            n = 1
        else:
            deadly.append(waiting.pop(0))
            n = workers
    if deadly:
        raise RunError(
            "worker processes die again and again (out of memory, or a crash inside the "
            f"calculator) at {', '.join(frame.where for frame in deadly)}; the other frames are "
            "kept, and the same command goes on; try fewer --workers, or leave these frames out"
        )


_function: Function | None = None


def _begin(function: Function) -> None:
    """Start of a worker process, which ends with its parent, however that ends."""
    _take(function)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _take(function: Function) -> None:
    global _function
    _function = function


def _attempt_here(frame: Frame) -> Outcome:
    assert _function is not None
    return _attempt(_function, frame)


def _with_mpi(function: Function, frames: Sequence[Frame]) -> Iterator[Outcome]:
    """On the ranks of an MPI job; the death of one ends the job."""
    from mpi4py import MPI as mpi
    from mpi4py.futures import MPIPoolExecutor

    if mpi.COMM_WORLD.Get_size() == 1:
        raise InputError(
            "--executor=mpi: there is one rank; start it with "
            "'mpiexec -n N python -m mpi4py.futures -m piwsl_plugins VERB ...'"
        )
    with MPIPoolExecutor(initializer=_take, initargs=(function,)) as pool:
        futures = [pool.submit(_attempt_here, frame) for frame in frames]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_here = threading.local()


def _attempt_on_worker(pickled: bytes, frame: Frame) -> Outcome:
    """Of a function that each thread of a worker of dask unpickles once.

    Raises:
        InputError: if the worker lacks what the function needs.
    """
    from distributed import get_worker

    try:
        if getattr(_here, "pickled", None) != pickled:
            _here.function, _here.pickled = pickle.loads(pickled), pickled
        return _attempt(_here.function, frame)
    except (ImportError, AttributeError, InputError) as error:
        reason = str(error) if isinstance(error, InputError) else reason_of(error)
        raise InputError(f"on the worker {get_worker().address}: {reason}; {_SAME}") from error


_SAME = (
    "workers of dask need the packages, modules and files of this process: start them in its "
    "environment, with its PYTHONPATH, in its folder"
)


def _with_dask(function: Function, frames: Sequence[Frame], address: str) -> Iterator[Outcome]:
    """On the workers of a dask scheduler, which begins structures of dead workers anew.

    By dask's own futures: its executor (``distributed/cfexecutor.py``, 2026.8) takes a result that
    is lost with its worker in the same moment for an exception.
    """
    from distributed import Client, KilledWorker, TimeoutError, as_completed

    scheduler = address.removeprefix("dask://")
    try:
        client = Client(f"tcp://{scheduler}", timeout=_PATIENCE)
    except OSError as error:
        raise InputError(f"--executor={address}: there is no scheduler of dask") from error
    pickled = pickle.dumps(function)
    with client:
        futures = client.map(_attempt_on_worker, [pickled] * len(frames), frames, pure=False)
        try:
            try:  # after there is work, which lets a cluster grow
                client.wait_for_workers(1, timeout=_PATIENCE)
            except TimeoutError:
                print(
                    f"--executor={address}: the scheduler has no worker yet; waiting for one (dask "
                    f"worker {scheduler}), Ctrl-C ends this",
                    file=sys.stderr,
                    flush=True,
                )
            for future in as_completed(futures):
                yield future.result()
                future.release()
        except PIWSLError:
            raise
        except KilledWorker as error:
            raise RunError(
                "workers of dask die again and again (out of memory, or a crash inside the "
                f"calculator): {reason_of(error)}; finished frames are kept, and the same command "
                "goes on"
            ) from error
        except Exception as error:  # what a structure leads to is an outcome
            raise RunError(
                f"--executor={address}: scheduler or workers of dask cannot run this package: "
                f"{reason_of(error)}; {_SAME}"
            ) from error
        finally:
            client.cancel(futures)
