"""Figures of consistency: residuals against ε, curvature against the first model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ....figure_style import REFERENCE, looks, panels
from ...part import PartFigure
from .analyse import Residuals

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figures(
    results: Mapping[str, Sequence[Residuals]], summary: dict[str, Any]
) -> Iterator[PartFigure]:
    """All figures of the part."""
    models = {name: several[0] for name, several in results.items() if several}
    yield PartFigure(
        "PITC and PISC residuals",
        "consistency",
        residuals(list(results), summary),
        "How far the energy at r + δ is from its first-order expansion. For forces that are the "
        "gradient of the energy it is the curvature, and grows as ε². A smaller residual is not a "
        "better model: too small means too flat.",
    )
    curvatures = curvature(list(results), models, summary)
    if curvatures is not None:
        caption = "Second difference of the energy along the same random displacements."
        yield PartFigure("Curvature", "curvature", curvatures, caption)


def residuals(names: Sequence[str], summary: dict[str, Any]) -> Figure:
    """PITC and PISC residuals against ε on logarithmic axes, with the fitted exponents."""
    models = {n: m for n, m in summary["models"].items() if m.get("consistency")}
    figure, axes = panels(2, width=4.0, height=3.4)
    style = looks(names, "color", "marker", "linestyle")
    for panel, term in zip(axes, ("pitc", "pisc"), strict=True):
        lowest: list[tuple[float, float]] = []
        for name, model in models.items():
            epsilon = [entry["epsilon"] for entry in model["consistency"]]
            size = [entry[f"{term}_rms"]["value"] for entry in model["consistency"]]
            exponent = model["values"][f"{term}_exponent"]["value"]
            label = f"{name}: ε$^{{{exponent:.2f}}}$" if np.isfinite(exponent) else name
            panel.loglog(epsilon, size, **{**style[name], "label": label})
            lowest += zip(epsilon, size, strict=True)
        start = min(lowest)
        guide = np.array([start[0], max(lowest)[0]])
        panel.loglog(
            guide,
            0.6 * start[1] * (guide / start[0]) ** 2,
            color=REFERENCE,
            linestyle=":",
            linewidth=1,
            label="ε² (curvature alone)",
        )
        panel.set(
            xlabel="ε, largest displacement per component (Å)",
            ylabel=f"{term.upper()} residual, RMS (meV/atom)",
            title=term.upper(),
        )
        panel.set_xticks(epsilon, [f"{value:g}" for value in epsilon])
        panel.minorticks_off()
        panel.legend()
    return figure


def curvature(
    names: Sequence[str], models: Mapping[str, Residuals], summary: dict[str, Any]
) -> Figure | None:
    """Curvature along random displacements against that of the first model."""
    baseline = summary["baseline"]
    first = models.get(baseline)
    if first is None:
        return None
    others = {
        name: found
        for name, found in models.items()
        if name != baseline and found.curvature.shape == first.curvature.shape
    }
    if not others:
        return None
    figure, (axes,) = panels(1, width=4.4, height=4.0)
    style = looks(names, "color", "marker")
    x = first.curvature[:, first.middle].ravel()
    span = np.array([x.min(), x.max()])
    for name, found in others.items():
        y = found.curvature[:, found.middle].ravel()
        span = np.array([min(span[0], y.min()), max(span[1], y.max())])
        ratio = summary["models"][name]["values"]["curvature_ratio"]["value"]
        axes.scatter(
            x, y, s=14, alpha=0.6, **{**style[name], "label": f"{name}: slope {ratio:.3f}"}
        )
    axes.plot(span, span, color=REFERENCE, linewidth=0.8)
    axes.set(
        xlabel=f"Curvature of {baseline} (eV/Å²)",
        ylabel="Curvature of the model (eV/Å²)",
        title=f"Along the same displacements, ε = {first.epsilon[first.middle]:g} Å",
    )
    axes.legend()
    return figure
