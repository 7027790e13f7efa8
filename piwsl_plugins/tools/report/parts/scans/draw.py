"""Figures of the scans: energy and force along each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ....figure_style import REFERENCE, looks, panels
from ...part import PartFigure
from .analyse import FollowedScan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: scans beside each other in one figure
COLUMNS = 4


def figures(results: Mapping[str, Sequence[FollowedScan]]) -> Iterator[PartFigure]:
    """Figures of :data:`COLUMNS` scans each."""
    names = list(dict.fromkeys(scan.name for several in results.values() for scan in several))
    groups = [names[start : start + COLUMNS] for start in range(0, len(names), COLUMNS)]
    for number, group in enumerate(groups, start=1):
        yield PartFigure(
            f"Scans {number}",
            f"scans_{number}",
            lines(results, group),
            "Smooth lines without jumps are wanted; the force is the component along the scan and "
            "should be minus the slope of the energy.",
        )


def lines(results: Mapping[str, Sequence[FollowedScan]], names: Sequence[str]) -> Figure:
    """Energy relative to the lowest (stretches) or first point (paths), and force along a scan."""
    figure, axes = panels(2 * len(names), columns=len(names), width=3.5, height=2.8)
    style = looks(results, "color", "linestyle")
    for column, scan_name in enumerate(names):
        top, bottom = axes[column], axes[len(names) + column]
        of_models = {
            model: scan
            for model, several in results.items()
            for scan in several
            if scan.name == scan_name
        }
        for name, scan in of_models.items():
            top.plot(scan.coordinate, _relative(scan.energy, scan), **style[name])
            bottom.plot(scan.coordinate, scan.force, **style[name])
        scan = list(of_models.values())[-1]
        if any(value is not None for value in scan.label or []):
            labels = _relative(np.array(scan.label, dtype=float), scan)
            top.plot(scan.coordinate, labels, "x", color=REFERENCE, label="labels")
        top.set_title(scan.title)
        first = scan_name.startswith("path-")
        top.set_ylabel(f"Energy − {'first' if first else 'lowest'} (eV)")
        bottom.set(xlabel=scan.axis, ylabel="Force along the scan (eV/Å)")
        bottom.axhline(0, color=REFERENCE, linewidth=0.8)
    axes[0].legend()
    return figure


def _relative(energy: np.ndarray, scan: FollowedScan) -> np.ndarray:
    start: float = np.nanmin(energy) if scan.label is None else energy[0]
    relative: np.ndarray = energy - start
    return relative
