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
MEASURED = (
    "E_rmse",
    "E_centred",
    "F_rmse",
    "slope",
    "cpu_ms_per_step",
    "peak_MiB",
    "md_survival_ps",
    "md_survived",
)
LABELS = {
    "E_centred": "energy RMSE (meV/atom)",
    "F_rmse": "force RMSE (meV/Å)",
    "slope": "force slope",
    "md_survival_ps": "survival (ps)",
}


def summarise(rows: pd.DataFrame, ladder: Callable[[float], float]) -> pd.DataFrame:
    """Means and standard deviations over seeds, and comparisons with the baseline.

    Columns beside those of the runs: ``cost``, CPU time per step relative to the baseline;
    ``E``, ``F`` and ``survival`` ``_at_equal_steps`` and ``_at_equal_time``: the mean divided by
    that of the baseline, over the seeds that both have (energies without their mean error);
    ``slope_change`` at equal steps; ``time_stretch``, how much longer the baseline ran at equal
    time. NaN where the baseline has not run.

    Args:
        rows: ``runs.csv``.
        ladder: rounds a cost up to a length of the baseline.
    """
    measured = [column for column in MEASURED if column in rows]
    lines = []
    for cell, here in rows.groupby(CELL, sort=False):
        for (variant, stretch), group in here.groupby(["variant", "stretch"], sort=False):
            line = dict(zip(CELL, cell)) | {"variant": variant, "stretch": stretch}
            line |= {"seeds": len(group), "steps": group["steps"].mean()}
            for column in measured:
                line[f"{column}_mean"] = group[column].mean()
                line[f"{column}_std"] = group[column].std()
            base = _baseline(here, 1.0)
            line["cost"] = group["cpu_ms_per_step"].mean() / base["cpu_ms_per_step"].mean()
            line["time_stretch"] = ladder(line["cost"]) if stretch == 1 else stretch
            line |= _compared(group, base, "at_equal_steps")
            line |= _compared(group, _baseline(here, line["time_stretch"]), "at_equal_time")
            line["slope_change"] = _difference(group, base, "slope")
            lines.append(line)
    return pd.DataFrame(lines)


def _baseline(here: pd.DataFrame, stretch: float) -> pd.DataFrame:
    return here[(here["variant"] == "base") & (here["stretch"] == stretch)]


def _common(group: pd.DataFrame, base: pd.DataFrame, column: str) -> tuple[float, float]:
    """Means of both over the seeds that both have."""
    both = group.set_index("seed")[column].to_frame("mine")
    both = both.join(base.set_index("seed")[column].rename("base"), how="inner")
    return both["mine"].mean(), both["base"].mean()


def _difference(group: pd.DataFrame, base: pd.DataFrame, column: str) -> float:
    mine, other = _common(group, base, column)
    return mine - other


def _compared(group: pd.DataFrame, base: pd.DataFrame, when: str) -> dict[str, float]:
    names = {"E": "E_centred", "F": "F_rmse", "survival": "md_survival_ps"}
    ratios = {}
    for name, column in names.items():
        if column in group:
            mine, other = _common(group, base, column)
            ratios[f"{name}_{when}"] = mine / other
    return ratios


def draw_figures(rows: pd.DataFrame, out: Path) -> None:
    """One figure per regime, data set and kind of labels: a row per variant, a dot per seed.

    Lines mark the baseline at equal steps; longer baselines are rows of their own.
    """
    for (regime, dataset, labels), here in rows.groupby(CELL[:3], sort=False):
        columns = ["E_centred", "F_rmse", "slope"]
        if "md_survival_ps" in here and here["md_survival_ps"].notna().any():
            columns.append("md_survival_ps")
        here = here.assign(
            row=[
                name if stretch == 1 else f"{name}, {stretch:g} × the steps"
                for name, stretch in zip(here["variant"], here["stretch"])
            ]
        )
        names = list(dict.fromkeys(here["row"]))
        heights = {name: len(names) - number for number, name in enumerate(names)}
        figure, axes = plt.subplots(
            1,
            len(columns),
            figsize=(3.0 + 2.6 * len(columns), 1.2 + 0.26 * len(names)),
            sharey=True,
            layout="constrained",
        )
        sizes = sorted(here["frames"].unique())
        for number, frames in enumerate(sizes):
            color = f"C{number}"
            part = here[here["frames"] == frames]
            offset = 0.22 * (number - (len(sizes) - 1) / 2)
            for axis, column in zip(axes, columns):
                height = part["row"].map(heights) - offset
                axis.plot(part[column], height, "o", ms=3, mew=0, alpha=0.6, color=color)
                means = part.groupby("row", sort=False)[column].mean()
                axis.plot(
                    means,
                    means.index.map(heights).to_numpy() - offset,
                    "|",
                    ms=8,
                    mew=1.8,
                    color=color,
                    label=f"{frames} frames",
                )
                base = part[part["row"] == "base"][column]
                if len(base):
                    axis.axvline(base.mean(), color=color, lw=0.7, alpha=0.6)
        for axis, column in zip(axes, columns):
            axis.set_xlabel(LABELS[column])
            # a logarithmic axis has too few or too many ticks below a decade
            if column in ("E_centred", "F_rmse") and here[column].max() > 10 * here[column].min():
                axis.set_xscale("log")
        axes[0].set_yticks(list(heights.values()), list(heights))
        axes[0].legend(fontsize="small")
        figure.suptitle(f"{regime}: {dataset}, {labels}")
        name = f"{regime}_{dataset}_{labels}".replace("+", "")
        figure.savefig(out / f"{name}.png", dpi=130)
        plt.close(figure)
