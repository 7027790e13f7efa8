"""Figure of the dynamics: energy of the NVE runs, temperature, and survival."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ....figure_style import REFERENCE, looks, panels
from ...part import PartFigure
from .analyse import survival_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figures(
    results: Mapping[str, Sequence[dict[str, Any]]], settings: dict[str, Any]
) -> Iterator[PartFigure]:
    """The figure of the part."""
    yield PartFigure(
        "Molecular dynamics",
        "dynamics",
        overview(results, settings),
        "Thin lines are single runs. A run ends when a bond breaks, atoms collapse, the "
        "temperature runs away or a number is not finite.",
    )


def overview(results: Mapping[str, Sequence[dict[str, Any]]], settings: dict[str, Any]) -> Figure:
    """Total energy (NVE), temperature (Langevin) and the fraction of runs alive, against time.

    Args:
        results: the runs of every model.
        settings: of the report; ``ensembles`` and ``temperatures`` are used.
    """
    models = {name: runs for name, runs in results.items() if runs}
    ensembles = settings["ensembles"]
    figure, axes = panels(len(ensembles) + 1, width=4.0, height=3.1)
    style = looks(results, "color", "linestyle")
    for panel, ensemble in zip(axes, ensembles, strict=False):
        for name, runs in models.items():
            look = style[name]
            for run in runs:
                if run["ensemble"] != ensemble or not run["time"]:
                    continue
                if ensemble == "nve":
                    energy = 1000 * np.array(run["energy"]) / run["n_atoms"]
                    values = energy - energy[0]
                else:
                    values = np.array(run["kinetic_temperature"])
                panel.plot(run["time"], values, alpha=0.7, linewidth=1, **look)
                # one entry of the legend for all runs
                look = {**look, "label": ""}
        if ensemble == "nve":
            panel.set(title="NVE", ylabel="Total energy − start (meV/atom)")
        else:
            panel.set(title="Langevin", ylabel="Temperature (K)", ylim=(0, None))
            for temperature in settings["temperatures"]:
                panel.axhline(temperature, color=REFERENCE, linewidth=0.8)
        panel.set_xlabel("Time (ps)")
    last = axes[-1]
    for name, runs in models.items():
        times, alive = survival_curve(runs)
        last.step(times, alive, where="post", **style[name])
    last.set(
        title=f"Survival of {len(runs)} runs each",
        xlabel="Time (ps)",
        ylabel="Fraction of runs alive",
        ylim=(-0.03, 1.05),
    )
    last.legend(loc="best")
    return figure
