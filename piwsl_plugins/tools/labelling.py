"""Labelling structures so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, RunError, reason_of
from ..frames.reading import Frame
from .parallel import Outcome, outcomes
from .progress import Progress
from .storage import read_json, write_json, write_npz
from .workers import PROCESSES

#: of one structure, by name
Arrays = dict[str, np.ndarray]
#: seconds
_AT_MOST_EVERY = 1.0
#: failures that an error message spells out
_SHOWN = 5
#: in the head of an unfinished run with ``--overwrite``
_REPLACES = "replaces the file"


def replaced(out: Path) -> bool:
    """Whether an unfinished run with ``--overwrite`` is to replace a file, which is not looked at.

    The file stays until the run has ended, as what is to replace it may come to nothing.
    """
    head = _folder_of(out) / "run.json"
    return head.is_file() and bool(read_json(head).get(_REPLACES))


def _folder_of(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


class Store:
    """What is finished: in the output file, and in the folder beside it while a run lasts.

    Structures go to the folder together, at most once a second, so that quick calculators do not
    wait for the disk; what a killed run loses is a second's work.
    """

    def __init__(
        self,
        out: Path,
        run: Mapping[str, Any],
        overwrite: bool,
        read_out: Callable[[Path], tuple[str, dict[str, Arrays]]],
    ) -> None:
        """Open the store, and find out what is finished.

        Args:
            out: the file to be written at the end.
            run: calculator and settings, as plain values, by which runs are told apart.
            overwrite: whether what another run left there is not looked at, and replaced by what
                this one writes.
            read_out: reads ``run`` (as JSON) and the finished structures, by key, of such a file.

        Raises:
            InputError: if ``out`` or its folder comes from another calculator or settings.
        """
        self.out = out
        self.run = json.dumps(dict(run))
        self.folder = _folder_of(out)
        self._head = self.folder / "run.json"
        self._in_out: dict[str, Arrays] = {}
        self._finished: dict[str, Arrays] = {}
        self._unwritten: dict[str, Arrays] = {}
        self._written = time.monotonic()
        self._replaces = overwrite
        self._stale = overwrite
        if overwrite:
            return
        if out.is_file() and not replaced(out):
            there, self._in_out = read_out(out)
            self._compare(json.loads(there), out)
        if self._head.is_file():
            self._compare(read_json(self._head), self.folder)
        for path in self.folder.glob("*.npz"):
            self._read(path)
        self._finished |= self._in_out

    def finished(self, frame: Frame) -> Arrays | None:
        """The arrays of a structure, if it is finished."""
        return self._finished.get(frame.key)

    def keep(self, frame: Frame, arrays: Arrays) -> None:
        """Keep one finished structure."""
        self._finished[frame.key] = self._unwritten[frame.key] = arrays
        if time.monotonic() - self._written > _AT_MOST_EVERY:
            self.flush()

    def flush(self) -> None:
        """Write what is finished and not written yet."""
        if self._unwritten:
            if self._stale:
                shutil.rmtree(self.folder, ignore_errors=True)
                self._stale = False
            if not self._head.is_file():
                marked = {_REPLACES: True} if self._replaces else {}
                write_json(self._head, {**json.loads(self.run), **marked})
            together = {
                f"{key}.{part}": array
                for key, arrays in self._unwritten.items()
                for part, array in arrays.items()
            }
            write_npz(self.folder / f"{next(iter(self._unwritten))}.npz", together)
        self._unwritten, self._written = {}, time.monotonic()

    def end(self) -> None:
        """Remove the folder, after the output file is written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def check_selection(self, frames: Sequence[Frame]) -> None:
        """Refuse to write a file anew without structures that it holds.

        Raises:
            InputError: with their number.
        """
        surplus = len(set(self._in_out) - {frame.key for frame in frames})
        if surplus:
            raise InputError(
                f"{self.out} also holds labels of {surplus} frames that are not selected now; give "
                "another --out, or --overwrite to make the file anew"
            )

    def _read(self, path: Path) -> None:
        """Take the finished structures of a file of :meth:`flush`."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
        except Exception as error:  # a damaged archive leads to errors of every kind
            raise InputError(
                f"{path}: cannot be read ({reason_of(error)}); remove it, and the same command "
                "computes what it held"
            ) from error
        for name, array in arrays.items():
            key, _, part = name.partition(".")
            self._finished.setdefault(key, {})[part] = array

    def _compare(self, there: dict[str, Any], path: Path) -> None:
        differing = [
            f"{name} is {there.get(name)} there and {value} here"
            for name, value in json.loads(self.run).items()
            if there.get(name) != value
        ]
        if differing:
            raise InputError(
                f"{path} comes from another calculator or other settings ({'; '.join(differing)}); "
                "give another --out, or --overwrite to throw it away"
            )


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Finished structures with their arrays, and lines that tell the user what happened.

    Attributes:
        failed: outcomes of the structures that are left out.
    """

    frames: list[Frame]
    arrays: list[Arrays]
    notes: list[str]
    failed: list[Outcome] = dataclasses.field(default_factory=list)


def label(
    frames: Sequence[Frame],
    function: Callable[[Frame], Arrays],
    store: Store,
    stage: str,
    called: str,
    workers: int = 1,
    skip_failed: bool = False,
    executor: str = PROCESSES,
) -> Labelled:
    """Run ``function`` on the structures that are not finished, and keep each that is.

    Args:
        frames: the structures, each once.
        function: what is computed of a structure; see :func:`.parallel.outcomes`.
        store: where finished structures are.
        stage: name of the progress bar.
        called: what computes, in the words of error messages.
        workers: number of processes of this machine.
        skip_failed: whether structures on which ``function`` fails are left out; otherwise they
            are an error, after the other structures are done and kept.
        executor: where structures are worked on, see :func:`.parallel.outcomes`.

    Raises:
        InputError: if no structure can be computed.
        RunError: for failures, or if a process dies.
    """
    store.check_selection(frames)
    missing = [frame for frame in frames if store.finished(frame) is None]
    failed: list[Outcome] = []
    seconds = []
    with Progress() as progress, progress.stage(stage, len(missing)) as advance:
        try:
            for outcome in outcomes(function, missing, workers, executor):
                if outcome.failure:
                    failed.append(outcome)
                else:
                    store.keep(outcome.frame, outcome.result)
                    seconds.append(outcome.seconds)
                advance()
        finally:
            store.flush()
    n_done = len(frames) - len(failed)
    if failed and (n_done == 0 or not skip_failed):
        remedy = (
            f"; {n_done} others are kept in {store.folder}; the same command tries again, and "
            "--skip_failed leaves out what still fails"
            if n_done
            else ""
        )
        raise RunError(
            f"{called} failed on {len(failed)} of {len(frames)} frames: {_spelled(failed)}{remedy}"
        )
    notes = []
    if failed:
        notes.append(f"{len(failed)} frames left out, on which the calculator failed")
        notes += [f"  {one.frame.where}: {one.failure}" for one in failed]
    if n_done > len(seconds):
        notes.append(f"{n_done - len(seconds)} frames were finished before")
    if seconds:
        notes.append(f"{sum(seconds) / len(seconds):.3g} s per frame")
    found = [(frame, store.finished(frame)) for frame in frames]
    done = [(frame, arrays) for frame, arrays in found if arrays is not None]
    return Labelled([frame for frame, _ in done], [arrays for _, arrays in done], notes, failed)


def _spelled(failed: list[Outcome]) -> str:
    failed = sorted(failed, key=lambda outcome: outcome.frame.where)
    shown = "; ".join(f"{one.frame.where} ({one.failure})" for one in failed[:_SHOWN])
    return shown + (f"; and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else "")
