"""Figure of the dynamics: energy of the NVE runs, temperature, and survival."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...figure_style import REFERENCE, looks, panels
from ..analysis.collect import Collected
from ..analysis.dynamics import survival_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def overview(collected: Collected) -> Figure | None:
    """Total energy (NVE), temperature (Langevin) and the fraction of runs alive, against time."""
    models = {name: model for name, model in collected.models.items() if model.runs}
    if not models:
        return None
    ensembles = collected.settings["ensembles"]
    figure, axes = panels(len(ensembles) + 1, width=4.0, height=3.1)
    style = looks(collected.models, "color", "linestyle")
    for panel, ensemble in zip(axes, ensembles, strict=False):
        for name, model in models.items():
            look = style[name]
            for run in model.runs:
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
            for temperature in collected.settings["temperatures"]:
                panel.axhline(temperature, color=REFERENCE, linewidth=0.8)
        panel.set_xlabel("Time (ps)")
    last = axes[-1]
    for name, model in models.items():
        times, alive = survival_curve(model.runs)
        last.step(times, alive, where="post", **style[name])
    last.set(
        title=f"Survival of {len(model.runs)} runs each",
        xlabel="Time (ps)",
        ylabel="Fraction of runs alive",
        ylim=(-0.03, 1.05),
    )
    last.legend(loc="best")
    return figure
