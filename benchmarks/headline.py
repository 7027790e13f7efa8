"""The figure of the README, from the tables of finished runs in docs/figures.

    python benchmarks/headline.py

Force errors of ethanol, PBE, five seeds: what the labels alone give, and what they give with what
lies beside them. The rows are those of docs/accuracy.md.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
HESSIANS, FINE_TUNING = "6-hessians", "6-hessians-finetune"


def accuracy(
    regime: str,
    dataset: str,
    labels: str,
    frames: int,
    variant: str,
    stretch: float = 1,
    steps: int | None = None,
) -> pd.Series:
    """Force errors (meV/Å) by seed, of ``benchmarks/accuracy.py``."""
    runs = pd.read_csv(FIGURES / "accuracy_runs.csv")
    wanted = {"regime": regime, "dataset": dataset, "labels": labels, "frames": frames}
    wanted |= {"variant": variant, "stretch": stretch} | ({"steps": steps} if steps else {})
    for name, value in wanted.items():
        runs = runs[runs[name] == value]
    return runs.set_index("seed").F_rmse


def weak_labels(run: str) -> pd.Series:
    """The same of ``benchmarks/weak_labels.py``: ten frames with energies and forces."""
    runs = pd.read_csv(FIGURES / "weak_labels_runs.csv")
    chosen = runs[(runs.dataset == "ethanol_pbe") & (runs.frames == 10) & (runs.run == run)]
    return chosen[chosen.labels == "E+F"].set_index("seed").F_rmse


def main() -> None:
    """Draw ``headline.png``."""
    pbe = "ethanol_pbe_hessians"
    energies = ("5-curvature", "ethanol_pbe", "E", 30)
    pairs = {
        "10 frames,\ntheir Hessians": (
            accuracy(HESSIANS, pbe, "E+F", 10, "base", 2),
            accuracy(HESSIANS, pbe, "E+F", 10, "hessian"),
        ),
        "10 frames,\na cheap method": (weak_labels("labels"), weak_labels("weak")),
        "a pretrained model,\n10 frames, their Hessians": (
            accuracy(FINE_TUNING, pbe, "E+F", 10, "base", 2),
            accuracy(FINE_TUNING, pbe, "E+F", 10, "hessian"),
        ),
        "30 energies,\na cheap method": (
            accuracy(*energies, "base", steps=4986),  # converged: twice the steps are no better
            accuracy(*energies, "pretrained cheap many frames lr=0.001"),
        ),
    }
    figure, axes = plt.subplots(figsize=(7.2, 2.9), layout="constrained")
    for index, (alone, more) in enumerate(pairs.values()):
        for runs, shift, colour in ((alone, -0.19, "#b0b0b0"), (more, 0.19, "#3f51b5")):
            label = ("the labels alone", "with what lies beside them")[shift > 0]
            at = index + shift
            axes.bar(at, runs.mean(), 0.36, color=colour, label=None if index else label)
            axes.errorbar(at, runs.mean(), runs.std(), color="black", capsize=3, linewidth=1)
            axes.text(at, 1.09 * (runs.mean() + runs.std()), f"{runs.mean():.0f}", ha="center")
    axes.set_yscale("log")
    axes.set_ylim(50, 2500)
    axes.set_yticks([50, 100, 200, 500, 1000], ["50", "100", "200", "500", "1000"])
    axes.minorticks_off()
    axes.set_xticks(range(len(pairs)), pairs, fontsize=9)
    axes.set_ylabel("force error (meV/Å)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    figure.savefig(FIGURES / "headline.png", dpi=160)
    for name, (alone, more) in pairs.items():
        words = name.replace("\n", " ")
        print(
            f"{words}: {alone.mean():.1f} ± {alone.std():.1f}, {more.mean():.1f} ± {more.std():.1f}"
        )


if __name__ == "__main__":
    main()
