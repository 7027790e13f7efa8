"""What a training by ``nequip-train`` costs, as a callback of its config."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import lightning


class CPUTime(lightning.Callback):
    """CPU time (s) and steps of the epochs, without set-up and validation, into a file."""

    def __init__(self, file: str) -> None:
        self._file = Path(file)
        self._spent = 0.0
        self._start: float | None = None

    def _go(self, *_: Any) -> None:
        self._start = time.process_time()

    def _stop(self, *_: Any) -> None:
        if self._start is not None:
            self._spent += time.process_time() - self._start
        self._start = None

    on_train_epoch_start = on_validation_end = _go
    on_train_epoch_end = on_validation_start = _stop

    def on_train_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Write it."""
        self._file.write_text(json.dumps({"cpu_s": self._spent, "steps": trainer.global_step}))
