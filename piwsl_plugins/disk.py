"""Words for a training that could not be written because nothing is left to write to."""

from __future__ import annotations

import shutil
from pathlib import Path

#: with less left, a checkpoint has not been written whole, in bytes
_NOTHING = 1 << 16


def full_disk(folder: str | Path) -> str | None:
    """That a folder has no space left, and what to do; None if it has, or if it does not exist."""
    if not Path(folder).is_dir() or shutil.disk_usage(folder).free >= _NOTHING:
        return None
    return (
        f"there is no space left in {folder}: free some, delete the newest checkpoint there if it "
        "is incomplete, and restart from the one before it, or begin again if there is none"
    )
