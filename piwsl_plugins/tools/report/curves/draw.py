"""Figure of training curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from ...figure_style import LINES, legend_below, looks, panels
from .logs import CURVES

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def overview(curves: pd.DataFrame) -> Figure:
    """A panel for every curve that a run has, all runs overlaid; heads differ by line style."""
    from matplotlib.ticker import MaxNLocator

    present = [curve for curve in CURVES if (curves["curve"] == curve.key).any()]
    figure, axes = panels(len(present), width=3.8, height=2.8)
    runs = list(dict.fromkeys(curves["run"]))
    heads = sorted(set(curves["head"]))
    style = looks(runs, "color", "marker", "linestyle")
    for panel, curve in zip(axes, present, strict=True):
        chosen = curves[curves["curve"] == curve.key]
        for (run, head), table in chosen.groupby(["run", "head"], sort=False):
            look = dict(style[run])
            if len(heads) > 1:
                look |= {"linestyle": LINES[heads.index(head) % len(LINES)]}
                look |= {"label": f"{run} ({head})"} if head else {}
            if len(table) >= 30:
                look["marker"] = ""
            panel.plot(table["epoch"], table["value"], markersize=3, **look)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        # ratios, without a unit, stay near 1
        if curve.unit and (chosen["value"] > 0).all():
            panel.set_yscale("log")
        unit = f"\n({curve.unit})" if curve.unit else ""
        panel.set(title=curve.label, xlabel="Epochs completed", ylabel=f"{curve.label}{unit}")
    legend_below(figure, axes[0])
    return figure
