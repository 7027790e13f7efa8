"""What D-optimal selection is compared with: farthest-point sampling, and chance."""

from __future__ import annotations

import numpy as np

from .features import Features


def farthest_points(features: Features, candidates: int, number: int) -> list[int]:
    """Structures, each farthest from those before it and from the given.

    The distance is that of structures' descriptors: for each element, the sum of its reduced
    descriptors per atom of the structure. Without given structures, the first is the one farthest
    from the candidates' mean.

    Args:
        features: of the candidates, then of the given structures.
        candidates: how many structures there are to choose from.
        number: how many to choose.
    """
    vectors = _structure_vectors(features)
    given, vectors = vectors[candidates:], vectors[:candidates]
    if len(given):
        distances = np.full(candidates, np.inf, np.float32)
        for vector in given:
            distances = np.minimum(distances, np.linalg.norm(vectors - vector, axis=1))
    else:
        distances = np.linalg.norm(vectors - vectors.mean(axis=0, dtype=np.float64), axis=1)
    chosen: list[int] = []
    while len(chosen) < min(number, candidates):
        distances[chosen] = -1
        farthest = int(np.argmax(distances))
        to_it = np.linalg.norm(vectors - vectors[farthest], axis=1)
        alone = not chosen and not len(given)
        distances = to_it if alone else np.minimum(distances, to_it)
        chosen.append(farthest)
    return chosen


def _structure_vectors(features: Features) -> np.ndarray:
    counts = {z: np.diff(starts) for z, starts in features.starts.items()}
    atoms = sum(counts.values())
    parts = []
    for z, rows in features.rows.items():
        sums = np.zeros((len(counts[z]), rows.shape[1]), np.float32)
        held = np.flatnonzero(counts[z])
        sums[held] = np.add.reduceat(rows, features.starts[z][held], axis=0)
        parts.append(sums / np.maximum(atoms, 1)[:, None])
    return np.hstack(parts)


def random(candidates: int, number: int, seed: int) -> list[int]:
    """Structures drawn by chance; fewer of the same seed are the first of more."""
    drawn: list[int] = np.random.default_rng(seed).permutation(candidates)[:number].tolist()
    return drawn
