"""What ``piwsl select`` prints."""

from __future__ import annotations

import argparse

import numpy as np

from .coverage import Course
from .features import Features
from .pool import Pool

#: a structure that gains less than this share of what one would gain alone says little
LITTLE = 0.1


def pays_until(gains: np.ndarray, alone: float) -> int | None:
    """How many structures come before the first that says little; None: all say more."""
    little = np.flatnonzero(gains < LITTLE * alone)
    return int(little[0]) if len(little) else None


def summarise(
    options: argparse.Namespace, pool: Pool, features: Features, course: Course, alone: float
) -> str:
    """Pool, choice, gains and what is not spanned, in words.

    Args:
        options: of the command.
        pool: the structures.
        features: of the structures.
        course: of what was chosen.
        alone: what a structure gains at most if there is no other.
    """
    components = ", ".join(f"{_symbol(z)} {rows.shape[1] - 2}" for z, rows in features.rows.items())
    described = options.model or f"SOAP (cutoff {options.cutoff:g} Å)"
    lines = [
        f"{options.pool}: {pool.size} structures, {pool.candidates} to choose from"
        f"; left out: {pool.already_given} identical to given ones, {pool.repeated} repeated",
        f"described by {described}, components per element: {components}",
    ]
    given, chosen = len(pool.frames) - pool.candidates, len(course.gains)
    if chosen:
        lines += _choice(options.method, course, alone)
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


def _choice(method: str, course: Course, alone: float) -> list[str]:
    gains = course.gains
    after = f", after {course.total:.1f} of those given" if course.total else ""
    until = pays_until(gains, alone)
    beginning = "all" if until is None else f"the first {until}" if until else "none"
    return [
        f"{len(gains)} chosen by {method}: information gained {gains.sum():.1f}{after} "
        f"(first {gains[0]:.1f}, last {gains[-1]:.1f})",
        f"{beginning} gain a tenth or more of the {alone:.1f} that a structure gains where there "
        "is no other",
    ]


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
