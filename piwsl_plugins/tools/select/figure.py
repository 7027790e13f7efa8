"""The figure of ``piwsl select``: the information gained, and what is not spanned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..figure_style import COLOURS, REFERENCE, panels, styled
from ..storage import written_whole
from .coverage import Course
from .summary import LITTLE, pays_until

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(path: Path, course: Course, chance: Course | None, alone: float, method: str) -> None:
    """Draw and save.

    Args:
        path: file to write.
        course: of what was chosen.
        chance: of as many structures chosen by chance, to compare with.
        alone: what a structure gains at most if there is no other.
        method: by which the structures were chosen.
    """
    with styled(), written_whole(path) as partial:
        if len(course.gains):
            figure, (gained, spanned) = panels(2, width=4.4, height=3.4)
            _gains(gained, course, chance, alone, method)
            _shares(spanned, course, chance)
        else:
            figure, (alone,) = panels(1, width=4.4)
            _bars(alone, course)
        figure.savefig(partial, format=path.suffix[1:])


def _gains(axes: Axes, course: Course, chance: Course | None, alone: float, method: str) -> None:
    numbers = np.arange(1, len(course.gains) + 1)
    if chance is not None:
        axes.plot(numbers, chance.gains, ".", color=REFERENCE, alpha=0.4, label="random")
    axes.plot(numbers, course.gains, "o-", color=COLOURS[0], markersize=3, label=method)
    label = "a tenth of one alone"
    axes.axhline(LITTLE * alone, color=REFERENCE, linestyle=":", label=label)
    until = pays_until(course.gains, alone)
    if until is None:
        title = "each of them still says much"
    else:
        title = f"after {until}, each says little" if until else "each of them says little"
    axes.set(title=title, xlabel="structures chosen", ylabel="information gained by the structure")
    axes.set_ylim(bottom=0)
    axes.legend()


def _shares(axes: Axes, course: Course, chance: Course | None) -> None:
    from ase.data import chemical_symbols

    if chance is not None:
        label = "all, random"
        axes.plot(chance.marks, 100 * chance.overall, "--", color=REFERENCE, label=label)
    for colour, (z, share) in zip(_cycled(len(course.shares)), course.shares.items()):
        axes.plot(course.marks, 100 * share, color=colour, label=chemical_symbols[z])
    axes.plot(course.marks, 100 * course.overall, color="black", linewidth=2.5, label="all")
    axes.set(
        title=f"{100 * course.overall[-1]:.0f} % are not spanned in the end",
        xlabel="structures chosen",
        ylabel="environments not spanned (%)",
        ylim=(0, None),
    )
    axes.legend()


def _bars(axes: Axes, course: Course) -> None:
    from ase.data import chemical_symbols

    shares = {chemical_symbols[z]: share[-1] for z, share in course.shares.items()}
    shares["all"] = course.overall[-1]
    bars = axes.bar(list(shares), [100 * share for share in shares.values()], color=COLOURS[0])
    bars[-1].set_color("black")
    axes.bar_label(bars, fmt="%.1f")
    axes.set(
        title=f"{100 * shares['all']:.0f} % of the pool are not spanned by the given",
        ylabel="environments not spanned (%)",
        ylim=(0, 105),
    )


def _cycled(number: int) -> list[str]:
    return [COLOURS[i % (len(COLOURS) - 1)] for i in range(number)]
