"""Runs that a later one goes on with: what they are made with, and the frames that are finished."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, reason_of
from ..frames.reading import Frame
from ..progress import stage
from .parallel import Outcome, outcomes
from .storage import read_json, write_json, write_npz
from .workers import PROCESSES

#: of one structure, by name
Arrays = dict[str, np.ndarray]
#: seconds
_AT_MOST_EVERY = 1.0
#: in the head of an unfinished run with ``--overwrite``
_REPLACES = "replaces the file"
#: of the lock of a folder, which the run that works in it holds
_LOCK = ".lock"


def replaced(out: Path) -> bool:
    """Whether an unfinished run with ``--overwrite`` is to replace a file, which is not looked at.

    The file stays until the run has ended, as what is to replace it may come to nothing.
    """
    head = _beside(out) / "run.json"
    return head.is_file() and bool(read_json(head).get(_REPLACES))


def is_unfinished(out: Path) -> bool:
    """Whether there is an unfinished run that writes a file."""
    return _beside(out).is_dir()


def _beside(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def require_same(
    there: Mapping[str, Any],
    here: Mapping[str, Any],
    path: Path,
    words: str = "comes from another calculator or other settings",
    option: str = "--out",
) -> None:
    """Refuse what another run has written.

    Args:
        there: what it was made with.
        here: what this run is made with, in JSON's types.
        path: what it has written.
        words: what the error says of it.
        option: to be given otherwise.

    Raises:
        InputError: naming what differs, with both values.
    """
    names = [name for name in {**there, **here} if name != _REPLACES]
    differing = [
        f"{name} is {there.get(name)} there and {here.get(name)} here"
        for name in names
        if there.get(name) != here.get(name)
    ]
    if differing:
        raise InputError(
            f"{path} {words} ({'; '.join(differing)}); give another {option}, or --overwrite to "
            "throw it away"
        )


class RunFolder:
    """The folder of a run, with what the run is made with in ``run.json``."""

    def __init__(self, path: Path, overwrite: bool) -> None:
        """Open the folder.

        Args:
            path: it need not exist.
            overwrite: whether what another run left there is not looked at, and thrown away as
                soon as there is something in its place.

        Raises:
            InputError: if ``run.json`` cannot be read.
        """
        self.path, self.head = path, path / "run.json"
        self._stale = overwrite
        #: what the run that is there was made with
        self.made_with = {} if overwrite or not self.head.is_file() else read_json(self.head)

    def clear(self) -> bool:
        """Throw away what another run left there, once, if the user wants that.

        Returns:
            whether it was done now.
        """
        done, self._stale = self._stale, False
        for path in self.path.glob("*") if done else ():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != _LOCK:
                path.unlink()
        return done

    def note(self, settings: Mapping[str, Any]) -> None:
        """Write what this run is made with: once there is something to lose, no earlier.

        What failed at once can then be given otherwise.
        """
        self.clear()
        if not self.head.is_file() or read_json(self.head) != settings:
            write_json(self.head, settings, indent=1)


class Run:
    """A run over frames that writes one file.

    What is finished is in that file, and in the folder beside it while the run lasts. Frames go to
    the folder together, at most once a second, so that quick calculators do not wait for the disk;
    what a killed run loses is a second's work.
    """

    def __init__(
        self,
        out: Path,
        settings: Mapping[str, Any],
        overwrite: bool,
        read_out: Callable[[Path], tuple[str, dict[str, Arrays]]],
    ) -> None:
        """Open the run, and find out what is finished.

        Args:
            out: the file to be written at the end.
            settings: calculator and settings, as plain values, by which runs are told apart.
            overwrite: whether what another run left there is not looked at, and replaced by what
                this one writes.
            read_out: reads the settings (as JSON) and the finished frames, by key, of such a file.

        Raises:
            InputError: if ``out`` or its folder comes from another calculator or settings.
        """
        self.out = out
        #: the settings as JSON
        self.settings = json.dumps(dict(settings))
        self._folder = RunFolder(_beside(out), overwrite)
        self._in_out: dict[str, Arrays] = {}
        self._finished: dict[str, Arrays] = {}
        self._unwritten: dict[str, Arrays] = {}
        self._written = time.monotonic()
        self._head = json.loads(self.settings)
        if overwrite:
            self._head[_REPLACES] = True
            return
        if out.is_file() and not replaced(out):
            there, self._in_out = read_out(out)
            require_same(json.loads(there), self._head, out)
        if self._folder.made_with:
            require_same(self._folder.made_with, self._head, self.folder)
            self._head = self._folder.made_with
        for path in self.folder.glob("*.npz"):
            self._read(path)
        self._finished |= self._in_out

    @property
    def folder(self) -> Path:
        """Where finished frames are while the run lasts."""
        return self._folder.path

    def finished(self, frame: Frame) -> Arrays | None:
        """The arrays of a frame, if it is finished."""
        return self._finished.get(frame.key)

    def keep(self, frame: Frame, arrays: Arrays) -> None:
        """Keep one finished frame."""
        self._finished[frame.key] = self._unwritten[frame.key] = arrays
        if time.monotonic() - self._written > _AT_MOST_EVERY:
            self.flush()

    def flush(self) -> None:
        """Write what is finished and not written yet."""
        if self._unwritten:
            self._folder.note(self._head)
            together = {
                f"{key}.{part}": array
                for key, arrays in self._unwritten.items()
                for part, array in arrays.items()
            }
            write_npz(self.folder / f"{next(iter(self._unwritten))}.npz", together)
        self._unwritten, self._written = {}, time.monotonic()

    def work(
        self,
        frames: Sequence[Frame],
        function: Callable[[Frame], Arrays],
        name: str,
        workers: int = 1,
        executor: str = PROCESSES,
        amount: Callable[[Any], float] = lambda frame: 1.0,
    ) -> list[Outcome]:
        """Run ``function`` on the frames that are not finished, and keep each that is.

        Args:
            frames: each once.
            function: what is computed of a frame; see :func:`.parallel.outcomes`.
            name: of the progress bar.
            workers: number of processes of this machine.
            executor: where frames are worked on, see :func:`.parallel.outcomes`.
            amount: of work that a frame is, for the progress bar.

        Returns:
            what became of those that were not finished, in the order in which they ended.

        Raises:
            PIWSLError: of ``function``, or if processes die again and again; what is finished is
                kept.
        """
        missing = [frame for frame in frames if self.finished(frame) is None]
        total = sum(map(amount, frames))
        done: list[Outcome] = []
        with stage(name, total) as advance:
            advance(total - sum(map(amount, missing)))
            try:
                for outcome in outcomes(function, missing, workers, executor):
                    if not outcome.failure:
                        self.keep(outcome.frame, outcome.result)
                    done.append(outcome)
                    advance(amount(outcome.frame))
            finally:
                self.flush()
        return done

    def end(self) -> None:
        """Remove the folder, after the output file is written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def check_selection(self, frames: Sequence[Frame]) -> None:
        """Refuse to write a file anew without frames that it holds.

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
        """Take the finished frames of a file of :meth:`flush`."""
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
