"""What a pool covers beside the frames that it started from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.neighborlist import neighbor_list

#: Å
CUTOFF = 3.5
#: structures whose distances are looked at
_LOOKED_AT = 500


def pair_distances(structures: Sequence[Atoms]) -> dict[str, np.ndarray]:
    """All distances up to :data:`CUTOFF`, by pair of elements, the most frequent pair first."""
    found: dict[tuple[int, int], list[np.ndarray]] = {}
    for atoms in structures[:: max(1, len(structures) // _LOOKED_AT)]:
        first, second, distance = neighbor_list("ijd", atoms, CUTOFF)
        numbers = np.sort(np.stack([atoms.numbers[first], atoms.numbers[second]]), axis=0)
        for pair in combinations_with_replacement(sorted(set(atoms.numbers.tolist())), 2):
            chosen = distance[(numbers[0] == pair[0]) & (numbers[1] == pair[1])]
            if len(chosen):
                found.setdefault(pair, []).append(chosen)
    joined = {pair: np.concatenate(parts) for pair, parts in found.items()}
    counts = Counter({pair: len(values) for pair, values in joined.items()})
    return {
        "–".join(chemical_symbols[z] for z in reversed(pair)): joined[pair]
        for pair, _ in counts.most_common()
    }


def range_ratio(given: dict[str, np.ndarray], pool: dict[str, np.ndarray]) -> dict[str, float]:
    """By how much the range of the shortest distances of a pool exceeds that of given frames.

    The range of a pair's shortest tenth of distances, where bonds and contacts are; above 1 the
    pool is wider.
    """
    ratios = {}
    for pair in given.keys() & pool.keys():
        inner, outer = (
            np.subtract(*np.quantile(d[d <= np.quantile(d, 0.1)], [1.0, 0.0]))
            for d in (given[pair], pool[pair])
        )
        if inner > 0:
            ratios[pair] = float(outer / inner)
    return ratios
