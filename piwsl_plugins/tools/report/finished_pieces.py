"""Finished pieces on disk: one JSON file each, reused as long as its inputs are the same.

::

    OUT/parts/index.json               data, settings, models, and which pieces belong together
    OUT/parts/<piece>/<model>.json     what one model gave
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..storage import plain, read_json, write_json

#: changes when the content of the pieces changes
PIECES_FORMAT = 2


class FinishedPieces:
    """The pieces of one report.

    Args:
        folder: the report's folder; made if it does not exist.
        resume: whether pieces of an earlier run are reused.
    """

    def __init__(self, folder: Path, resume: bool = True) -> None:
        self.folder = folder / "parts"
        self.resume = resume
        self.reused = 0
        self._listed: dict[str, list[str]] = {}
        self._head: dict[str, Any] = {}

    def begin(self, head: dict[str, Any]) -> None:
        """Give the index what is common to all pieces (data, settings, models)."""
        self._head = {"format": PIECES_FORMAT, **head}

    def have(
        self, piece: str, model: str, key: dict[str, Any], compute: Callable[[], dict[str, Any]]
    ) -> bool:
        """Have ``piece`` of ``model`` on disk: computed now, unless its ``key`` is unchanged.

        Returns:
            whether it was computed.
        """
        fresh = not self.has(piece, model, key)
        if fresh:
            content = {"key": _written(key), "result": compute()}
            write_json(self.folder / piece / f"{model}.json", content)
        else:
            self.reused += 1
        self._listed.setdefault(piece, [])
        if model not in self._listed[piece]:
            self._listed[piece].append(model)
        self.write_index()
        return fresh

    def has(self, piece: str, model: str, key: dict[str, Any]) -> bool:
        """Whether ``piece`` of ``model`` is on disk, to be reused, with this ``key``."""
        path = self.folder / piece / f"{model}.json"
        return self.resume and path.is_file() and read_json(path).get("key") == _written(key)

    def adopt(self, piece: str, model: str, content: dict[str, Any]) -> None:
        """Take over a piece that another report computed."""
        write_json(self.folder / piece / f"{model}.json", content)
        self._listed.setdefault(piece, []).append(model)
        self.write_index()

    def write_index(self) -> None:
        """List the pieces that there are; done after each one that is computed."""
        write_json(self.folder / "index.json", {**self._head, "parts": self._listed})


def _written(key: dict[str, Any]) -> Any:
    return plain({"format": PIECES_FORMAT, **key})


def read_index(folder: Path) -> dict[str, Any]:
    """The index of the report in ``folder``.

    Raises:
        InputError: if there is none, or it is of another version.
    """
    path = folder / "parts" / "index.json"
    if not path.is_file():
        raise InputError(f"{folder}: not a report (there is no {path})")
    index = read_json(path)
    if index.get("format") != PIECES_FORMAT:
        raise InputError(
            f"{path}: of format {index.get('format')}, this version reads {PIECES_FORMAT}; "
            "run the report again"
        )
    if not {"models", "data", "settings", "software", "parts"} <= set(index):
        raise InputError(f"{path}: it is damaged; run the report again")
    return index


def read_piece(folder: Path, piece: str, model: str) -> dict[str, Any]:
    """One piece as written: ``{"key": ..., "result": ...}``.

    Raises:
        InputError: if it is not there, or damaged.
    """
    path = folder / "parts" / piece / f"{model}.json"
    content = read_json(path)
    if not {"key", "result"} <= set(content):
        raise InputError(f"{path}: it is damaged; remove it and run the report again")
    return content
