"""What a training of a correction is given."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class CorrectionTraining:
    """One training.

    Attributes:
        seed: of weights and batches.
        folder: for what the trainer writes.
        stress: whether all frames of both files have one.
    """

    train_file: Path
    valid_file: Path
    seed: int
    folder: Path
    stress: bool = False
