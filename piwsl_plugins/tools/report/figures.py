"""Every figure of a report."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ..figure_style import save, styled
from . import parts
from .collected import Collected


@dataclasses.dataclass(frozen=True)
class SavedFigure:
    """A saved figure: title, PNG file, width in inches, and what it shows."""

    title: str
    path: Path
    width: float
    caption: str


def draw(collected: Collected, summary: dict[str, Any], folder: Path) -> list[SavedFigure]:
    """Draw and save all figures for which there is something to show.

    Returns:
        the figures in the order of reading.
    """
    with styled():
        return [
            SavedFigure(
                figure.title,
                save(figure.picture, folder, figure.name),
                figure.picture.get_figwidth(),
                figure.caption,
            )
            for part in parts.PARTS
            if any(collected.of(part).values())
            for figure in part.figures(collected.of(part), summary)
        ]
