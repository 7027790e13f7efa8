"""Figures of the scans: energy and force along each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...figure_style import REFERENCE, looks, panels
from ..analysis.collect import Collected

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: scans beside each other in one figure
COLUMNS = 4


def groups(collected: Collected) -> list[list[str]]:
    """Names of the scans that share a figure."""
    names = collected.scan_names()
    return [names[start : start + COLUMNS] for start in range(0, len(names), COLUMNS)]


def lines(collected: Collected, names: list[str]) -> Figure:
    """Energy relative to the lowest (stretches) or first point (paths), and force along a scan."""
    figure, axes = panels(2 * len(names), columns=len(names), width=3.5, height=2.8)
    style = looks(collected.models, "color", "linestyle")
    for column, scan_name in enumerate(names):
        top, bottom = axes[column], axes[len(names) + column]
        for name, model in collected.models.items():
            if scan_name not in model.scans:
                continue
            scan = model.scans[scan_name]
            x = np.array(scan["coordinate"], dtype=float)
            top.plot(x, _relative(scan, "energy"), **style[name])
            bottom.plot(x, np.array(scan["force"], dtype=float), **style[name])
        if any(value is not None for value in scan["label"] or []):
            top.plot(x, _relative(scan, "label"), "x", color=REFERENCE, label="labels")
        top.set_title(scan["title"])
        first = scan_name.startswith("path-")
        top.set_ylabel(f"Energy − {'first' if first else 'lowest'} (eV)")
        bottom.set(xlabel=scan["axis"], ylabel="Force along the scan (eV/Å)")
        bottom.axhline(0, color=REFERENCE, linewidth=0.8)
    axes[0].legend()
    return figure


def _relative(scan: dict[str, Any], key: str) -> np.ndarray:
    energy = np.array(scan[key], dtype=float)
    stretch = scan["label"] is None
    return energy - (np.nanmin(energy) if stretch else energy[0])
