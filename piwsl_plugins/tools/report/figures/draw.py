"""Every figure of a report."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ...figure_style import save, styled
from ..analysis.collect import Collected
from . import consistency, dynamics, labels, phonons, scans, vibrations


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A saved figure: its title, its PNG file, and its width in inches."""

    title: str
    path: Path
    width: float


def draw(collected: Collected, summary: dict[str, Any], folder: Path) -> list[Drawn]:
    """Draw and save all figures for which there is something to show.

    Returns:
        the figures in the order of reading.
    """
    with styled():
        figures = [
            ("Parity with the labels", "parity", labels.parity(collected, summary)),
            ("Errors by group", "errors", labels.errors(collected, summary)),
            ("Force slope", "force_slope", labels.force_slope(collected, summary)),
            ("PITC and PISC residuals", "consistency", consistency.residuals(collected, summary)),
            ("Curvature", "curvature", consistency.curvature(collected, summary)),
            *(
                (f"Scans {number}", f"scans_{number}", scans.lines(collected, names))
                for number, names in enumerate(scans.groups(collected), start=1)
            ),
            ("Molecular dynamics", "dynamics", dynamics.overview(collected)),
            ("Vibrations", "vibrations", vibrations.overview(collected, summary)),
            *(
                (f"Phonons {number}", f"phonons_{number}", phonons.bands(collected, crystal))
                for number, crystal in enumerate(phonons.crystals(collected), start=1)
            ),
        ]
        return [
            Drawn(title, save(figure, folder, name), figure.get_figwidth())
            for title, name, figure in figures
            if figure is not None
        ]
