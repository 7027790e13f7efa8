"""The corrections trained by the host's own command, one after the other, each with its log."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ...errors import RunError
from ..storage import read_json, write_json
from .correction_training import CorrectionTraining
from .corrections import Correction
from .hosts import HostCommand, model_of

#: lines of a failed training's log that are shown
_SHOWN = 15


def train(
    command: HostCommand,
    corrections: Sequence[Correction],
    seed: int,
    elements: Sequence[int],
    environment: Mapping[str, str],
    keep: Callable[[], None],
) -> list[Path]:
    """Train what is not trained yet.

    Args:
        command: of the host.
        corrections: with their files written.
        seed: of the first training; the others count on.
        elements: atomic numbers of training frames and pool.
        environment: of the command.
        keep: called before a training counts as finished.

    Returns:
        the models.

    Raises:
        RunError: for a training that fails, with the last lines of its log.
    """
    models = []
    for number, correction in enumerate(corrections):
        finished = correction.folder / "model.json"
        if not finished.is_file():
            folder = correction.folder / "training"
            # of a training that was interrupted: begun again, so that the result is the same
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            log = correction.folder / "training.log"
            called = f"correction {number + 1} of {len(corrections)}"
            print(f"training {called}, log: {log}", file=sys.stderr, flush=True)
            files = correction.train_file, correction.valid_file
            training = CorrectionTraining(*files, seed + number, folder, correction.stress)
            start = time.perf_counter()
            _run(command.arguments(training, elements), environment, log, called)
            seconds = round(time.perf_counter() - start, 1)
            model = model_of(folder)
            path = str(model.relative_to(correction.folder))
            keep()
            write_json(finished, {"model": path, "seconds": seconds})
        models.append(correction.folder / read_json(finished)["model"])
    return models


def _run(arguments: Sequence[str], environment: Mapping[str, str], log: Path, called: str) -> None:
    with log.open("w", encoding="utf-8") as file:
        file.write(shlex.join(arguments) + "\n\n")
        file.flush()
        done = subprocess.run(
            arguments,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
            preexec_fn=_ending_with(os.getpid()) if sys.platform == "linux" else None,
        )
    if done.returncode != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        tail = "\n".join(f"  {line}" for line in lines[-_SHOWN:])
        raise RunError(
            f"training {called} failed (exit code {done.returncode}); what is finished is kept, "
            f"and the same command goes on; the last lines of {log}:\n{tail}"
        )


def _ending_with(parent: int) -> Callable[[], None]:
    """Let the kernel end a training whose parent is killed (Linux's PR_SET_PDEATHSIG is 1).

    Otherwise it would go on writing where the same command, given again, trains anew.
    """
    library = ctypes.CDLL(None)

    def prepare() -> None:
        library.prctl(1, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return prepare
