"""The figure of ``piwsl pool``: distances and energies of the pool beside the given frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from ..figure_style import COLOURS, REFERENCE, panels, styled
from ..storage import written_whole
from .coverage import CUTOFF, pair_distances

#: panels of pairs
_PAIRS = 5


def draw(
    path: Path,
    given: Sequence[Atoms],
    pool: Sequence[Atoms],
    start_energies: np.ndarray,
    energies: Mapping[float, np.ndarray],
) -> None:
    """Draw the distances by pair of elements, and the energies by temperature.

    Args:
        path: of the figure.
        given: the frames that runs started from.
        pool: the structures.
        start_energies: of the given frames per atom, in eV.
        energies: of the structures per atom, in eV, by temperature (K); all relative to one zero.
    """
    of_given, of_pool = pair_distances(given), pair_distances(pool)
    pairs = list(of_pool)[:_PAIRS]
    with styled():
        figure, axes = panels(len(pairs) + 1)
        for pair, axis in zip(pairs, axes):
            bins = np.linspace(0.9 * of_pool[pair].min(), CUTOFF, 80)
            axis.hist(of_pool[pair], bins, density=True, color=COLOURS[5], label="pool")
            if pair in of_given:
                axis.hist(
                    of_given[pair],
                    bins,
                    density=True,
                    histtype="step",
                    color=REFERENCE,
                    label="given frames",
                )
            axis.set(xlabel=f"{pair} distance (Å)", ylabel="density")
        axes[0].legend()
        last = axes[len(pairs)]
        every = np.concatenate([*energies.values(), start_energies])
        bins = np.linspace(every.min(), every.max() + 1e-9, 40)
        for colour, (temperature, values) in zip(COLOURS, energies.items()):
            last.hist(values, bins, histtype="step", color=colour, label=f"pool, {temperature:g} K")
        last.plot(start_energies, np.zeros_like(start_energies), "|", color=REFERENCE, ms=12)
        last.set(
            xlabel="energy above the lowest (eV/atom; ticks: given)", ylabel="number of structures"
        )
        last.legend()
        with written_whole(path) as partial:
            figure.savefig(partial, format=path.suffix[1:])
