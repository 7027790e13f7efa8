"""The pool of unlabelled structures: which of them go with which training step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .settings import SettingsError
from .structures import read_structures


def read_pool(path: Path | str) -> list[Any]:
    """The structures of a file that ASE reads, as ``ase.Atoms``; single atoms are left out.

    Raises:
        SettingsError: naming ``unlabeled_file``, if there are none.
    """
    pool = [atoms for atoms in read_structures(path, "unlabeled_file") if len(atoms) > 1]
    if not pool:
        raise SettingsError("unlabeled_file", str(path), "it holds no structure of several atoms")
    return pool


def choose(
    n_pool: int, per_batch: int, seed: int, step: int, rank: int = 0, n_ranks: int = 1
) -> list[int]:
    """The pool's structures of a training step, each pass over the pool in a new random order.

    It depends on the arguments alone, so that a restarted run repeats an uninterrupted one; all
    ranks together go through the pool without repetition.

    Args:
        n_pool: size of the pool.
        per_batch: number of structures for this rank's batch.
        seed: seed of the run.
        step: optimiser step, from 0.
        rank: this process' rank.
        n_ranks: number of ranks.

    Returns:
        ``per_batch`` indices below ``n_pool``.
    """
    first = (step * n_ranks + rank) * per_batch
    chosen = []
    orders: dict[int, Any] = {}
    for position in range(first, first + per_batch):
        turn, place = divmod(position, n_pool)
        if turn not in orders:
            orders[turn] = np.random.default_rng([seed, turn]).permutation(n_pool)
        chosen.append(int(orders[turn][place]))
    return chosen
