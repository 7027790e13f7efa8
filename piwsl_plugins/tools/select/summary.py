"""What ``piwsl select`` prints."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .coverage import Course
from .distinct_structures import DistinctStructures
from .features import Features


def summarise(
    options: argparse.Namespace,
    pool: DistinctStructures,
    features: Features,
    course: Course,
    chance: Course | None,
    notes: Sequence[str] = (),
) -> str:
    """Pool, choice, gains and what is not spanned, in words.

    Args:
        options: of the command.
        pool: the structures.
        features: of the structures.
        course: of what was chosen.
        chance: of as many structures chosen by chance.
        notes: further lines on the descriptors.
    """
    components = ", ".join(f"{_symbol(z)} {rows.shape[1] - 2}" for z, rows in features.rows.items())
    described = options.model or f"SOAP (cutoff {options.cutoff:g} Å)"
    lines = [
        f"{options.pool}: {pool.size} structures, {pool.candidates} to choose from"
        f"; left out: {pool.already_given} identical to given ones, {pool.repeated} repeated",
        f"described by {described}, components per element: {components}",
        *notes,
    ]
    given, chosen = len(pool.frames) - pool.candidates, len(course.gains)
    if chosen:
        lines += _choice(options.method, course, chance)
    lines += ["", "environments of the pool that are not spanned (leverage above 1):"]
    columns = [(0, f"{given} given")] if given else []
    if chosen:
        columns.append((-1, f"{given} given + {chosen}" if given else f"{chosen} chosen"))
    lines.append(f"element{'atoms':>12}" + "".join(f"{head:>20}" for _, head in columns))
    shares = {_symbol(z): share for z, share in course.shares.items()} | {"all": course.overall}
    atoms = [*course.environments.values(), sum(course.environments.values())]
    for (name, share), number in zip(shares.items(), atoms):
        cells = "".join(f"{_percent(share[mark]):>20}" for mark, _ in columns)
        lines.append(f"{name:<7}{number:>12}{cells}")
    if chosen:
        lines += ["", f"{options.out}: {chosen} frames in the order chosen"]
    return "\n".join(lines)


def _choice(method: str, course: Course, chance: Course | None) -> list[str]:
    gains, narrowing = course.gains, course.narrowing
    after = f", after {course.total:.1f} of those given" if course.total else ""
    lines = [
        f"{len(gains)} chosen by {method}: information gained {gains.sum():.1f}{after} "
        f"(first {gains[0]:.1f}, last {gains[-1]:.1f})",
        "standard errors of a linear potential's coefficients fall by "
        f"{_percent(narrowing[0])} with the first, by {_percent(narrowing[-1])} with the last",
    ]
    if chance is not None:
        number = course.as_much_as(chance)
        as_much = "more than all of these" if number is None else f"as much as the first {number}"
        lines.insert(1, f"{len(gains)} random ones gain {chance.gains.sum():.1f}, {as_much}")
    return lines


def _percent(share: float) -> str:
    """In words that say 0 or 100 only where it is so."""
    percent = 100 * share
    if 0 < percent < 0.05:
        return "< 0.1 %"
    if 99.95 <= percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %"


def _symbol(element: int) -> str:
    from ase.data import chemical_symbols

    return chemical_symbols[element]
