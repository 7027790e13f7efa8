"""What ``piwsl select`` prints."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from .coverage import Course
from .descriptors import SOAP_CUTOFF
from .features import Features
from .pool import Pool

#: a structure that gains less than this share of what the first gains says little
LITTLE = 0.1


def pays_until(gains: np.ndarray) -> int | None:
    """How many structures gain :data:`LITTLE` of the first's gain or more; None: all of them."""
    little = np.flatnonzero(gains < LITTLE * gains[0])
    return int(little[0]) if len(little) else None


def summarise(
    options: argparse.Namespace,
    pool: Pool,
    features: Features,
    order: Sequence[int],
    course: Course,
) -> str:
    """Pool, choice, gains and what is not spanned, in words."""
    from ase.data import chemical_symbols

    given = len(pool.frames) - pool.candidates
    components = ", ".join(
        f"{chemical_symbols[z]} {rows.shape[1] - 1}" for z, rows in features.rows.items()
    )
    described = options.model or f"SOAP (cutoff {SOAP_CUTOFF:g} Å)"
    lines = [
        f"{options.pool}: {pool.size} structures, {pool.candidates} to choose from"
        f"; left out: {pool.already_given} identical to given ones, {pool.repeated} repeated",
        f"described by {described}, components per element: {components}",
    ]
    if len(order):
        lines += _choice(options, course)
    lines += ["", "environments of the pool that are not spanned (leverage above 1):"]
    heads = [f"{given} given"] if given else []
    if len(order):
        heads.append(f"{given} given + {len(order)}" if given else f"{len(order)} chosen")
    marks = ([0] if given else []) + ([-1] if len(order) else [])
    lines.append("element       atoms" + "".join(f"{head:>20}" for head in heads))
    shares = {chemical_symbols[z]: share for z, share in course.shares.items()}
    atoms = [*course.environments.values(), sum(course.environments.values())]
    for (name, share), number in zip([*shares.items(), ("all", course.overall)], atoms):
        cells = "".join(f"{100 * share[mark]:>18.1f} %" for mark in marks)
        lines.append(f"{name:<8}{number:>11}{cells}")
    if len(order):
        lines += ["", f"{options.out}: {len(order)} frames in the order chosen"]
    return "\n".join(lines)


def _choice(options: argparse.Namespace, course: Course) -> list[str]:
    gains = course.gains
    until = pays_until(gains)
    paying = (
        f"all {len(gains)} gain a tenth of the first or more: further labels still pay"
        if until is None
        else f"from number {until + 1} on, a structure gains less than a tenth of the first"
    )
    return [
        f"{len(gains)} chosen by {options.method}: information gained {gains.sum():.1f} (first "
        f"{gains[0]:.1f}, last {gains[-1]:.1f})"
        + (f", after {course.total:.1f} of those given" if course.total else ""),
        paying,
    ]
