"""Joining reports of the same data that were made in different environments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import InputError
from .finished_pieces import FinishedPieces, read_index, read_piece

#: entries of a key that differ from model to model
_OF_MODEL = ("model", "dtype")


def merge(folders: Sequence[Path], out: Path) -> None:
    """Put the pieces of several reports into a new one.

    The first model of the first report is the baseline of the new one.

    Raises:
        InputError: if the reports are of different data, measured something differently, or
            use one name for two models.
    """
    if out.resolve() in {folder.resolve() for folder in folders}:
        raise InputError(f"--out {out}: give a new folder, not one of those that are joined")
    indices = [read_index(folder) for folder in folders]
    first = indices[0]
    for folder, index in zip(folders[1:], indices[1:], strict=True):
        if index["data"]["digest"] != first["data"]["digest"]:
            raise InputError(
                f"{folder}: made from other frames or labels ({', '.join(index['data']['files'])}) "
                f"than {folders[0]} ({', '.join(first['data']['files'])}); give both the same "
                "--data and --max_frames"
            )
    models = [model for index in indices for model in index["models"]]
    names = [model["name"] for model in models]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"two of the reports have a model '{name}'; run one again with another name"
            )
    software: dict[str, str] = {}
    for index in reversed(indices):
        software |= index["software"]
    pieces: list[tuple[str, str, dict[str, Any]]] = []
    known: dict[str, tuple[Path, dict[str, Any]]] = {}
    for folder, index in zip(folders, indices, strict=True):
        for piece, members in index["parts"].items():
            for name in members:
                content = read_piece(folder, piece, name)
                common = {k: v for k, v in content["key"].items() if k not in _OF_MODEL}
                other, expected = known.setdefault(piece, (folder, common))
                if common != expected:
                    changed = ", ".join(k for k in common if common[k] != expected.get(k))
                    raise InputError(
                        f"{folder}: '{piece}' was measured differently than in {other} "
                        f"({changed}); run both with the same options"
                    )
                pieces.append((piece, name, content))
    finished = FinishedPieces(out)
    finished.begin(
        {
            **{name: first[name] for name in ("created", "settings", "data")},
            "software": software,
            "models": models,
        }
    )
    for piece, name, content in pieces:
        finished.adopt(piece, name, content)
