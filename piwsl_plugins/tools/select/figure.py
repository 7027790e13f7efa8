"""The figure of ``piwsl select``: the information gained, and what is not spanned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..figure_style import COLOURS, LINES, REFERENCE, panels, styled
from ..storage import written_whole
from .coverage import Course

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: gains below this share of the largest are not drawn
_SMALLEST = 1e-3


def draw(path: Path, course: Course, chance: Course | None, method: str) -> None:
    """Draw and save.

    Args:
        path: file to write.
        course: of what was chosen.
        chance: of as many structures chosen by chance, to compare with.
        method: by which the structures were chosen.
    """
    with styled(), written_whole(path) as partial:
        if len(course.gains):
            figure, (gained, spanned) = panels(2, width=4.7, height=3.4)
            _gains(gained, course, chance, method)
            _shares(spanned, course, chance, method)
        else:
            figure, (alone,) = panels(1, width=4.4)
            _bars(alone, course)
        figure.savefig(partial, format=path.suffix[1:])


def _gains(axes: Axes, course: Course, chance: Course | None, method: str) -> None:
    numbers = np.arange(1, len(course.gains) + 1)
    if chance is not None:
        axes.plot(numbers, chance.gains, ".", color=REFERENCE, alpha=0.4, label="random")
    axes.plot(numbers, course.gains, "o-", color=COLOURS[0], markersize=3, label=method)
    number = None if chance is None else course.as_much_as(chance)
    axes.set(
        title=""
        if number is None
        else f"{number} of them say as much as {len(numbers)} random ones",
        xlabel="structures chosen",
        ylabel="information gained by the structure",
        yscale="log",
    )
    lowest, highest = axes.get_ylim()
    axes.set_ylim(bottom=max(lowest, _SMALLEST * course.gains.max()), top=highest)
    _whole_numbers(axes)
    axes.legend()
    _second_axis(axes, course.unknowns)


def _second_axis(axes: Axes, unknowns: int) -> None:
    """Gains as the share by which standard errors fall (:attr:`Course.narrowing`)."""

    from matplotlib.ticker import LogLocator, NullLocator

    def percent(gain: Any) -> Any:
        return -100 * np.expm1(-np.asarray(gain) / (2 * unknowns))

    def gain(percent: Any) -> Any:
        return -2 * unknowns * np.log1p(-np.clip(percent, 0, 99.9) / 100)

    second = axes.secondary_yaxis("right", functions=(percent, gain))
    second.set_ylabel("errors of coefficients fall by (%)")
    second.spines["right"].set_visible(True)
    for axis in (axes.yaxis, second.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())


def _shares(axes: Axes, course: Course, chance: Course | None, method: str) -> None:
    from ase.data import chemical_symbols

    if chance is not None:
        shares = 100 * chance.overall
        axes.plot(chance.marks, shares, "--", color=REFERENCE, label="all, random")
    shares = 100 * course.overall
    axes.plot(course.marks, shares, color="black", linewidth=2.5, label=f"all, {method}")
    colours = COLOURS[:-1]
    for i, (z, share) in enumerate(course.shares.items() if len(course.shares) > 1 else ()):
        look: dict[str, Any] = {
            "color": colours[i % len(colours)],
            "linestyle": LINES[i // len(colours) % 4],
        }
        axes.plot(course.marks, 100 * share, label=chemical_symbols[z], **look)
    axes.set(
        title=f"environments of the pool: {_percent(course.overall[-1])} not spanned in the end",
        xlabel="structures chosen",
        ylabel="not spanned (%)",
        ylim=(0, None),
    )
    _whole_numbers(axes)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def _bars(axes: Axes, course: Course) -> None:
    from ase.data import chemical_symbols

    shares = {chemical_symbols[z]: share[-1] for z, share in course.shares.items()}
    shares["all"] = course.overall[-1]
    bars = axes.bar(list(shares), [100 * share for share in shares.values()], color=COLOURS[0])
    bars[-1].set_color("black")
    axes.bar_label(bars, fmt="%.1f")
    axes.set(
        title=f"{_percent(shares['all'])} are not spanned by the given structures",
        ylabel="environments of the pool not spanned (%)",
        ylim=(0, 105),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else "100 %"


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
