"""Which environments of the pool are not spanned, and how that falls with what is chosen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .design import Information
from .features import Features

#: how often shares are computed on the way
_MARKS = 24


@dataclasses.dataclass(frozen=True)
class Course:
    """What an order of structures gains.

    Attributes:
        gains: of each structure after those before it, ``(n_chosen,)``.
        total: Σ log det A gained by the given structures over no structure at all.
        marks: numbers of structures at which ``shares`` are known, from 0 to all of them.
        shares: of each element, the share of the pool's environments with a leverage above 1 at
            each mark.
        environments: of each element, its atoms in the pool.
        unknowns: coefficients of the linear designs together.
    """

    gains: np.ndarray
    total: float
    marks: Sequence[int]
    shares: Mapping[int, np.ndarray]
    environments: Mapping[int, int]
    unknowns: int

    @property
    def narrowing(self) -> np.ndarray:
        """By which share each structure makes the coefficients' standard errors smaller.

        The geometric mean over all coefficients: det A grows by exp(gain), and standard errors fall
        with the square root of A.
        """
        return np.asarray(1 - np.exp(-self.gains / (2 * self.unknowns)))

    def as_much_as(self, other: Course) -> int | None:
        """How many of the structures gain as much as all of another order; None: all gain less."""
        enough = np.flatnonzero(np.cumsum(self.gains) >= other.gains.sum())
        return int(enough[0]) + 1 if len(enough) else None

    @property
    def overall(self) -> np.ndarray:
        """The share among all elements' environments at each mark."""
        counts = self.environments
        atoms = sum(self.shares[z] * counts[z] for z in counts)
        return np.asarray(atoms / sum(counts.values()))


def follow(
    features: Features,
    given: Sequence[int],
    pooled: int,
    order: Sequence[int],
    advance: Callable[[], None] = lambda: None,
) -> Course:
    """Follow gains and shares along an order.

    Args:
        features: of all structures, those of the pool first.
        given: structures that are there already.
        pooled: how many structures are in the pool.
        order: structures as they are added.
        advance: told after each structure.
    """
    information = Information(features)
    empty = information.log_determinant()
    information.add_all(given)
    total = information.log_determinant() - empty
    environments = {z: int(starts[pooled]) for z, starts in features.starts.items()}
    environments = {z: number for z, number in environments.items() if number}
    spread = np.geomspace(1, max(1, len(order)), _MARKS).round().astype(int).tolist()
    marks = sorted({0, *(mark for mark in spread if mark <= len(order))})
    shares: dict[int, list[float]] = {z: [] for z in environments}
    gains = []
    for number in range(len(order) + 1):
        if number:
            gains.append(information.add(order[number - 1]))
            advance()
        if number in marks:
            for z, known in shares.items():
                known.append(float(np.mean(information.leverages(z, pooled) > 1)))
    arrays = {z: np.array(known) for z, known in shares.items()}
    unknowns = sum(rows.shape[1] for rows in features.rows.values())
    return Course(np.array(gains), total, marks, arrays, environments, unknowns)
