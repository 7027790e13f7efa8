"""The pieces of a report, read back from disk and put together by part and model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ...errors import InputError
from . import parts
from .finished_pieces import read_index, read_piece
from .part import Part, Result


@dataclasses.dataclass(frozen=True)
class Collected:
    """One report.

    Attributes:
        index: data, settings and models, in the order given; the first is the baseline.
        results: what the parts make of their pieces, by name of the part and of the model.
    """

    index: dict[str, Any]
    results: dict[str, dict[str, list[Any]]]

    @property
    def settings(self) -> dict[str, Any]:
        """The report's settings."""
        settings: dict[str, Any] = self.index["settings"]
        return settings

    @property
    def models(self) -> dict[str, dict[str, Any]]:
        """What the models are, by name."""
        return {model["name"]: model for model in self.index["models"]}

    @property
    def baseline(self) -> str:
        """Name of the first model, against which the others are compared."""
        return next(iter(self.models))

    def of(self, part: Part[Result]) -> dict[str, list[Result]]:
        """The results of a part for every model, none for one without."""
        found = self.results.get(part.name, {})
        return {name: found.get(name, []) for name in self.models}


def collect(folder: Path) -> Collected:
    """Read the report in ``folder``.

    Raises:
        InputError: if there is none, or a piece of it cannot be read.
    """
    index = read_index(folder)
    results: dict[str, dict[str, list[Any]]] = {}
    for piece, models in index["parts"].items():
        part = _part_of(piece, folder)
        for model in models:
            content = read_piece(folder, piece, model)["result"]
            several = results.setdefault(part.name, {}).setdefault(model, [])
            several.append(part.analyse(piece, content, index))
    return Collected(index, results)


def _part_of(piece: str, folder: Path) -> Part[Any]:
    for part in parts.PARTS:
        if part.holds(piece):
            return part
    raise InputError(
        f"{folder}: '{piece}' belongs to no part of the report; run the report again with --fresh"
    )
