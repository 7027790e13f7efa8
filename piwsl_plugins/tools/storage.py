"""Files that are written whole or not at all: JSON, text and npz."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name to write to; the file gets its own name when everything is written.

    Args:
        path: name of the file; its folder is made if it does not exist.

    Yields:
        the name to write to, which is gone if writing fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".writing")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk does not say which file it has no room for
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any], indent: int | None = None) -> None:
    """Write strict JSON (NaN and infinity become null)."""
    text = json.dumps(plain(content), indent=indent, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays."""
    with written_whole(path) as partial, open(partial, "wb") as file:
        np.savez(file, **arrays)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: cannot be read (it holds no JSON object)")
    return content


def plain(value: Any) -> Any:
    """``value`` in JSON's own types; arrays become lists, numbers that are not finite None."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
