"""Labels of frames by a function of theirs, and what is said of those on which it fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from ..errors import RunError
from ..frames.reading import Frame
from .parallel import Outcome
from .runs import Arrays, Run
from .workers import PROCESSES

#: failures that an error message spells out
_SHOWN = 5


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
    run: Run,
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
        run: where finished structures are.
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
    run.check_selection(frames)
    worked_on = run.work(frames, function, stage, workers, executor)
    failed = [outcome for outcome in worked_on if outcome.failure]
    seconds = [outcome.seconds for outcome in worked_on if not outcome.failure]
    n_done = len(frames) - len(failed)
    if failed and (n_done == 0 or not skip_failed):
        remedy = (
            f"; {n_done} others are kept in {run.folder}; the same command tries again, and "
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
    found = [(frame, run.finished(frame)) for frame in frames]
    done = [(frame, arrays) for frame, arrays in found if arrays is not None]
    return Labelled([frame for frame, _ in done], [arrays for _, arrays in done], notes, failed)


def _spelled(failed: list[Outcome]) -> str:
    failed = sorted(failed, key=lambda outcome: outcome.frame.where)
    shown = "; ".join(f"{one.frame.where} ({one.failure})" for one in failed[:_SHOWN])
    return shown + (f"; and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else "")
