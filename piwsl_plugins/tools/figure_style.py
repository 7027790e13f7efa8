"""The look of every figure: colours that colour-blind readers can tell apart, and how to save."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .storage import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito's colours, without yellow (too light for lines)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")
#: labels and lines that belong to no model
REFERENCE = "#444444"


def looks(names: Iterable[str], *parts: str) -> dict[str, dict[str, Any]]:
    """Matplotlib's keywords for each name, with the name as label.

    Args:
        names: of all models; colour, marker and line of two of them differ together.
        parts: which of "color", "marker" and "linestyle".
    """
    cycles = {"color": COLOURS, "marker": MARKERS, "linestyle": LINES}
    return {
        name: {"label": name, **{part: cycles[part][i % len(cycles[part])] for part in parts}}
        for i, name in enumerate(names)
    }


def panels(
    number: int, columns: int = 3, width: float = 3.6, height: float = 3.0
) -> tuple[Figure, list[Axes]]:
    """A figure with ``number`` panels in rows of at most ``columns``; no display is needed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(columns, number)
    rows = -(-number // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[number:]:
        unused.remove()
    return figure, axes[:number]


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's settings for every figure of a report."""
    import matplotlib

    settings = {
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#e4e4e4",
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "lines.linewidth": 1.5,
        "lines.markersize": 4.5,
        "errorbar.capsize": 2.5,
        "savefig.dpi": 160,
        "pdf.fonttype": 42,
    }
    with matplotlib.rc_context(settings):
        yield


def save(figure: Figure, folder: Path, name: str) -> Path:
    """Write ``name``.png and ``name``.pdf; returns the path of the PNG."""
    # without a date, the same report gives the same files
    for ending, metadata in (("pdf", {"CreationDate": None}), ("png", None)):
        with written_whole(folder / f"{name}.{ending}") as partial:
            figure.savefig(partial, format=ending, metadata=metadata)
        # the places found for the first file serve the second
        figure.set_layout_engine("none")
    return folder / f"{name}.png"


def legend_below(figure: Figure, axes: Axes) -> None:
    """One legend for all panels, under them; ``axes`` holds what it names."""
    handles, labels = axes.get_legend_handles_labels()
    columns = min(len(labels), max(1, int(figure.get_figwidth() // 1.5)))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)
