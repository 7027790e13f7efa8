"""Figures of the phonons: band structure and density of states over the reference's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ....figure_style import REFERENCE, legend_below, looks
from ...part import PartFigure
from .analyse import CrystalModes, Spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: of wavenumbers in cm⁻¹ per THz
WAVENUMBERS = 33.35641


def figures(results: Mapping[str, Sequence[CrystalModes]]) -> Iterator[PartFigure]:
    """A figure of each crystal, by file and label, in the order of the report."""
    crystals = dict.fromkeys(modes.where for several in results.values() for modes in several)
    for number, crystal in enumerate(crystals, start=1):
        yield PartFigure(
            f"Phonons {number}",
            f"phonons_{number}",
            bands(results, crystal),
            "All at the reference's geometry, from the same displaced supercells; negative: "
            "imaginary. Bands below the reference's are too soft. A crystal with imaginary "
            "frequencies is unstable.",
        )


def bands(results: Mapping[str, Sequence[CrystalModes]], crystal: str) -> Figure:
    """Band structure and density of states of one crystal, all models over the reference."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = {
        name: phonons
        for name, several in results.items()
        for phonons in several
        if phonons.where == crystal
    }
    first = next(iter(found.values()))
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    look = {"color": REFERENCE, "linewidth": 2.6, "alpha": 0.45, "label": "reference"}
    _draw(left, right, first, first.reference, look)
    style = looks(results, "color", "linestyle")
    for name, phonons in found.items():
        _draw(left, right, phonons, phonons.model, {**style[name], "linewidth": 1.1})
    _corners(left, first)
    spectra = [first.reference, *(phonons.model for phonons in found.values())]
    ends = np.array([[min(s.bands.min(), 0), s.bands.max()] for s in spectra])
    left.set_ylim(1.04 * ends[:, 0].min(), 1.04 * ends[:, 1].max())
    left.axhline(0, color=REFERENCE, linewidth=0.8)
    left.set(ylabel="Frequency (THz)", title=f"Phonons of {first.title}")
    right.set(xlabel="Density of states (1/THz)", title="Whole Brillouin zone")
    right.set_xlim(left=0)
    right.secondary_yaxis(
        "right", functions=(lambda y: y * WAVENUMBERS, lambda y: y / WAVENUMBERS)
    ).set_ylabel("Wavenumber (cm⁻¹)")
    legend_below(figure, right)
    return figure


def _draw(
    left: Axes, right: Axes, phonons: CrystalModes, spectrum: Spectrum, look: dict[str, Any]
) -> None:
    # a path may leave the boundary of the zone at one point and go on at another
    gaps = np.flatnonzero(np.diff(phonons.distance) == 0) + 1
    segments = zip(np.split(phonons.distance, gaps), np.split(spectrum.bands, gaps), strict=True)
    for distance, frequencies in segments:
        left.plot(distance, frequencies, **{**look, "label": "_"})
    right.plot(spectrum.dos, spectrum.dos_frequencies, **look)


def _corners(axes: Axes, phonons: CrystalModes) -> None:
    """Names of the corners of the path; both where it leaps."""
    names: dict[float, str] = {}
    for place, label in zip(phonons.ticks.tolist(), phonons.tick_labels, strict=True):
        name = label.replace("G", "Γ")
        names[place] = f"{names[place]}|{name}" if place in names else name
    axes.set_xticks(list(names), list(names.values()))
    axes.set(xlim=(phonons.distance[0], phonons.distance[-1]), xlabel="Wave vector")
    axes.grid(visible=False, axis="y")
