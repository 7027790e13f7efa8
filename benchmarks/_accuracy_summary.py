"""Tables and figures of ``accuracy.py`` from its rows, one per run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

CELL = ["regime", "dataset", "labels", "frames"]
#: columns of ``runs.csv`` whose mean and standard deviation over seeds are given
MEASURED = ("E_rmse", "E_centred", "F_rmse", "slope", "H_rmse", "freq_mae", "cpu_ms_per_step")
#: columns that are compared with the baseline's, by name in ``summary.csv``
COMPARED = {"E": "E_centred", "F": "F_rmse", "H": "H_rmse"}
DRAWN = {
    "E_centred": "energy RMSE (meV/atom)",
    "F_rmse": "force RMSE (meV/Å)",
    "slope": "force slope",
    "H_rmse": "Hessian RMSE (eV/Å²)",
}


def summarise(rows: pd.DataFrame, ladder: Callable[[float], float]) -> pd.DataFrame:
    """Means and standard deviations over seeds, and comparisons with the baseline.

    Columns beside those of the runs: ``cost``, CPU time per step relative to the baseline;
    ``E``, ``F`` and ``H`` ``_at_equal_steps`` and ``_at_equal_time``: the mean divided by
    that of the baseline, over the seeds that both have (energies without their mean error);
    ``slope_change`` at equal steps; ``time_stretch``, how much longer the baseline ran at equal
    time. NaN where the baseline has not run.

    Args:
        rows: ``runs.csv``.
        ladder: rounds a cost up to a length of the baseline.
    """
    lines = []
    for cell, here in rows.groupby(CELL, sort=False):
        base = here[here["variant"] == "base"].set_index("seed")
        for (variant, stretch), group in here.groupby(["variant", "stretch"], sort=False):
            line = dict(zip(CELL, cell)) | {"variant": variant, "stretch": stretch}
            line |= {"seeds": len(group), "steps": group["steps"].mean()}
            for column in (column for column in MEASURED if column in rows):
                line[f"{column}_mean"] = group[column].mean()
                line[f"{column}_std"] = group[column].std()
            mine, once = group.set_index("seed"), base[base["stretch"] == 1]
            line["cost"] = mine["cpu_ms_per_step"].mean() / once["cpu_ms_per_step"].mean()
            line["time_stretch"] = ladder(line["cost"]) if stretch == 1 else stretch
            longer = base[base["stretch"] == line["time_stretch"]]
            for when, other in (("at_equal_steps", once), ("at_equal_time", longer)):
                seeds = mine.index.intersection(other.index)
                for name, column in COMPARED.items():
                    if column in rows:
                        means = (part.loc[seeds, column].mean() for part in (mine, other))
                        line[f"{name}_{when}"] = next(means) / next(means)
            line["slope_change"] = (mine["slope"] - once["slope"]).mean()
            lines.append(line)
    return pd.DataFrame(lines)


def draw_figures(rows: pd.DataFrame, out: Path) -> None:
    """One figure per regime, data set and kind of labels: a row per variant, a dot per seed.

    Lines mark the baseline at equal steps; longer baselines are rows of their own.
    """
    for (regime, dataset, labels), here in rows.groupby(CELL[:3], sort=False):
        columns = [column for column in DRAWN if column in here and here[column].notna().any()]
        longer = here["stretch"].map(lambda s: "" if s == 1 else f", {s:g} × the steps")
        here = here.assign(row=here["variant"] + longer)
        names = list(here["row"].unique())
        figure, axes = plt.subplots(
            1,
            len(columns),
            figsize=(3.0 + 2.6 * len(columns), 1.2 + 0.26 * len(names)),
            sharey=True,
            layout="constrained",
        )
        for number, (frames, part) in enumerate(here.groupby("frames")):
            heights = part["row"].map(names.index) + 0.15 * number
            base = part[part["row"] == "base"]
            for axis, column in zip(axes, columns):
                axis.plot(
                    part[column], heights, "o", ms=3, color=f"C{number}", label=f"{frames} frames"
                )
                axis.axvline(base[column].mean(), color=f"C{number}", lw=0.7, alpha=0.6)
        for axis, column in zip(axes, columns):
            axis.set_xlabel(DRAWN[column])
            # a logarithmic axis has too few or too many ticks below a decade
            if column != "slope" and here[column].max() > 10 * here[column].min():
                axis.set_xscale("log")
        axes[0].set_yticks(range(len(names)), names)
        axes[0].invert_yaxis()
        axes[0].legend(fontsize="small")
        figure.suptitle(f"{regime}: {dataset}, {labels}")
        name = f"{regime}_{dataset}_{labels}".replace("+", "")
        figure.savefig(out / f"{name}.png", dpi=130)
        plt.close(figure)
