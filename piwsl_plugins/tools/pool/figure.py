"""The figure of a pool: a map, energies, and distances beside those of the given frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from ...frames.reading import Frame
from ..figure_style import legend_below, panels, styled
from ..storage import written_whole
from .bond_coverage import distances_of, evenly, map_of
from .collection import Snapshot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: pairs of elements that are drawn
_PAIRS = 7
#: intervals of energies; least and most of distances
_BINS, _BINS_OF_DISTANCE = 24, (12, 60)
#: points of the map at each temperature taken together, evenly spaced
_DRAWN = 1500


def draw(
    path: Path,
    given: Sequence[Frame],
    pool: Sequence[Snapshot],
    energies: tuple[np.ndarray, np.ndarray],
) -> None:
    """Draw and save the figure.

    Args:
        path: .png or .pdf.
        given: the given frames.
        pool: the pool.
        energies: of both, as :func:`.energies.relative_energies` gives them.
    """
    given_atoms = [frame.atoms for frame in given]
    by_temperature: dict[float, list[int]] = {}
    for place, structure in enumerate(pool):
        by_temperature.setdefault(structure.run.temperature, []).append(place)
    colours = _heat(sorted(by_temperature))
    with styled():
        there = distances_of(given_atoms, bonded=False)
        here = {
            temperature: distances_of([pool[place].atoms for place in places], bonded=False)
            for temperature, places in by_temperature.items()
        }
        pairs = list(there)[:_PAIRS]
        figure, axes = panels(2 + len(pairs), columns=3, width=3.4, height=2.7)
        _map(axes[0], given_atoms, pool, colours)
        _energies(axes[1], energies[0], energies[1], by_temperature, colours)
        for below, pair in zip(axes[2:], pairs, strict=True):
            values = {t: found[pair] for t, found in here.items() if pair in found}
            _distances(below, pair, there[pair], values, colours)
        legend_below(figure, axes[0])
        with written_whole(path) as partial:
            # without a date, the same pool gives the same file
            dated = {"CreationDate": None} if path.suffix == ".pdf" else None
            figure.savefig(partial, format=path.suffix[1:], metadata=dated)


def _heat(temperatures: Sequence[float]) -> dict[float, Any]:
    """A colour for each temperature, from blue to yellow, that colour-blind readers can order."""
    from matplotlib import colormaps

    places = np.linspace(0.05, 0.8, len(temperatures)) if len(temperatures) > 1 else [0.4]
    return dict(zip(temperatures, colormaps["plasma"](places), strict=True))


def _map(
    axes: Axes, given: Sequence[Atoms], pool: Sequence[Snapshot], colours: dict[float, Any]
) -> None:
    some, drawn = evenly(given), evenly(pool, _DRAWN)
    places, variance = map_of([*some, *(structure.atoms for structure in drawn)])
    temperatures = np.array([structure.run.temperature for structure in drawn])
    for temperature, colour in colours.items():
        points = places[len(some) :][temperatures == temperature]
        label = f"pool, {temperature:g} K"
        axes.scatter(
            points[:, 0], points[:, 1], s=6, color=colour, alpha=0.6, linewidths=0, label=label
        )
    axes.scatter(
        places[: len(some), 0],
        places[: len(some), 1],
        s=22,
        marker="+",
        color="black",
        linewidths=1.2,
        label="given (+, grey)",
    )
    axes.set(
        title="Map of the structures",
        xlabel=f"1st direction ({100 * variance[0]:.0f} % of variance)",
        ylabel=f"2nd direction ({100 * variance[1]:.0f} %)",
        xticklabels=[],
        yticklabels=[],
    )


def _energies(
    axes: Axes,
    given: np.ndarray,
    pool: np.ndarray,
    by_temperature: dict[float, list[int]],
    colours: dict[float, Any],
) -> None:
    values = {t: pool[by_temperature[t]] for t in colours}
    values = {t: found[np.isfinite(found)] for t, found in values.items()}
    everything = np.concatenate([given, *values.values()])
    if len(everything):
        bins = np.linspace(everything.min(), everything.max(), _BINS + 1).tolist()
        _histograms(axes, given, values, colours, bins)
    axes.set(
        title="Energy by the calculator",
        xlabel="Energy − mean of given (meV/atom)",
        ylabel="Density",
        yticks=[],
    )


def _distances(
    axes: Axes,
    pair: str,
    given: np.ndarray,
    pool: dict[float, np.ndarray],
    colours: dict[float, Any],
) -> None:
    everything = np.concatenate([given, *pool.values()])
    n_bins = int(np.clip(2 * np.sqrt(min(map(len, pool.values()), default=0)), *_BINS_OF_DISTANCE))
    bins = np.linspace(everything.min(), everything.max(), n_bins + 1).tolist()
    _histograms(axes, given, pool, colours, bins)
    axes.set(title=f"{pair} distances", xlabel="Distance (Å)", ylabel="Density", yticks=[])


def _histograms(
    axes: Axes,
    given: np.ndarray,
    pool: dict[float, np.ndarray],
    colours: dict[float, Any],
    bins: Sequence[float],
) -> None:
    axes.hist(given, bins, density=True, color="#bbbbbb")
    for temperature, values in pool.items():
        axes.hist(
            values, bins, density=True, histtype="step", color=colours[temperature], linewidth=1.2
        )
