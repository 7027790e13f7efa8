"""Figure of the vibrations: frequencies and their errors against the Hessian labels'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ....figure_style import REFERENCE, legend_below, looks, panels
from ...part import PartFigure
from .analyse import StructureModes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: width of the bands of the spectrum, of each of which a line shows the median error (cm⁻¹)
BAND = 200.0


def figures(
    results: Mapping[str, Sequence[StructureModes]], summary: dict[str, Any]
) -> Iterator[PartFigure]:
    """The figure of the part."""
    yield PartFigure(
        "Vibrations",
        "vibrations",
        overview(results, summary),
        "Modes of the Hessian-labelled structures, matched by rank; negative: imaginary. "
        "Off equilibrium they are local normal modes. Middle: each point is a mode, lines are "
        "medians; below zero the model is too soft. The largest 1 % of errors lie beyond the "
        "middle panel, and in the outermost bins of the right one.",
    )


def overview(results: Mapping[str, Sequence[StructureModes]], summary: dict[str, Any]) -> Figure:
    """Parity of frequencies, their errors along the spectrum, and how errors are distributed."""
    models = {name: several for name, several in results.items() if several}
    figure, (parity, along, distribution) = panels(3, width=4.0, height=3.6)
    style = looks(results, "color", "marker", "linestyle")
    modes = {
        name: tuple(np.concatenate(pair) for pair in zip(*((v.reference, v.model) for v in found)))
        for name, found in models.items()
    }
    largest = np.quantile(np.concatenate([np.abs(b - a) for a, b in modes.values()]), 0.99)
    span = max(float(largest), 1e-3)
    bins = np.linspace(-span, span, 41)
    n_structures = max(map(len, models.values()))
    for name, (reference, found) in modes.items():
        mae = summary["models"][name]["values"]["frequency_mae"]["value"]
        look = {**style[name], "label": f"{name}: MAE {mae:.3g} cm⁻¹"}
        points: dict[str, Any] = {
            "linestyle": "none",
            "alpha": 0.35,
            "markersize": 3,
            "markeredgewidth": 0,
        }
        line: dict[str, Any] = {
            "color": look["color"],
            "linestyle": look["linestyle"],
            "linewidth": 1.5,
        }
        parity.plot(reference, found, **{**look, **points})
        along.plot(reference, found - reference, **{**look, **points, "label": ""})
        medians, edges = _medians(reference, found - reference)
        along.stairs(medians, edges, baseline=None, label=look["label"], **line)
        counts, _ = np.histogram(np.clip(found - reference, -span, span), bins)
        distribution.stairs(counts / len(found), bins, **line)
    ends = parity.get_xlim()
    parity.plot(ends, ends, color=REFERENCE, linewidth=0.8, zorder=0)
    along.axhline(0, color=REFERENCE, linewidth=0.8)
    distribution.axvline(0, color=REFERENCE, linewidth=0.8)
    label = "Reference frequency (cm⁻¹)"
    parity.set(
        xlabel=label,
        ylabel="Frequency of the model (cm⁻¹)",
        title=f"Modes of {n_structures} structures",
    )
    along.set(xlabel=label, ylabel="Model − reference (cm⁻¹)", title="Error along the spectrum")
    along.set_ylim(-1.1 * span, 1.1 * span)
    distribution.set(
        xlabel="Model − reference (cm⁻¹)", ylabel="Fraction of modes", title="All errors"
    )
    legend_below(figure, along)
    return figure


def _medians(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median of y in each band of :data:`BAND` along x, NaN in empty ones, and the bands' edges."""
    edges = BAND * np.arange(np.floor(x.min() / BAND), np.floor(x.max() / BAND) + 2)
    inside = np.digitize(x, edges) - 1 == np.arange(len(edges) - 1)[:, None]
    return np.array([np.median(y[band]) if band.any() else np.nan for band in inside]), edges
