"""Figure of training curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...figure_style import LINES, legend_below, looks, panels
from .logs import CURVES
from .points import CurvePoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def overview(points: Sequence[CurvePoint]) -> Figure:
    """A panel for every curve that a run has, all runs overlaid; heads differ by line style."""
    from matplotlib.ticker import MaxNLocator

    present = [curve for curve in CURVES if any(point.curve == curve.key for point in points)]
    figure, axes = panels(len(present), width=3.8, height=2.8)
    heads = sorted({point.head for point in points})
    style = looks(dict.fromkeys(point.run for point in points), "color", "marker", "linestyle")
    for panel, curve in zip(axes, present, strict=True):
        lines: dict[tuple[str, str], list[CurvePoint]] = {}
        for point in points:
            if point.curve == curve.key:
                lines.setdefault((point.run, point.head), []).append(point)
        for (run, head), line in lines.items():
            look = dict(style[run])
            if len(heads) > 1:
                look |= {"linestyle": LINES[heads.index(head) % len(LINES)]}
                look |= {"label": f"{run} ({head})"} if head else {}
            if len(line) >= 30:
                look["marker"] = ""
            epochs, values = [p.epoch for p in line], [p.value for p in line]
            panel.plot(epochs, values, markersize=3, **look)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        # ratios, without a unit, stay near 1
        if curve.unit and all(p.value > 0 for line in lines.values() for p in line):
            panel.set_yscale("log")
        unit = f"\n({curve.unit})" if curve.unit else ""
        panel.set(title=curve.label, xlabel="Epochs completed", ylabel=f"{curve.label}{unit}")
    legend_below(figure, axes[0])
    return figure
