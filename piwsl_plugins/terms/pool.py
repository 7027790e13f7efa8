"""The pool: structures beside the training set, some of which go with each batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from ..options.settings import Settings
from .distributed import n_ranks, rank
from .host import Batch


class Pool:
    """Hands out the structures of a pool, in the loader's worker processes if there are any.

    Which structures go with a batch depends on the seed and the batch's number alone, so that a
    restarted run repeats an uninterrupted one; all ranks together go through the pool without
    repetition, each time in a new random order. A dataset that reads its structures when asked
    for them is never in memory as a whole.

    Attributes:
        collate_fn: makes some structures of the dataset a batch.
    """

    def __init__(
        self,
        dataset: Any,
        collate: Callable[[list[Any]], Batch],
        per_batch: int,
        seed: int,
        rank: int = 0,
        n_ranks: int = 1,
        n_workers: int = 0,
        multiprocessing_context: Any = None,
    ) -> None:
        """
        Args:
            dataset: the framework's structures, a sequence.
            collate: makes some of them a batch.
            per_batch: number of structures for each batch of each rank; all, once, where there are
                fewer, as copies of a structure are displaced alike.
            seed: of the order.
            rank: this process' rank.
            n_ranks: number of ranks.
            n_workers: number of processes that read structures; 0: this one does.
            multiprocessing_context: how these are started, as torch's loader takes it.
        """
        self.dataset = dataset
        n = len(dataset)
        self._arguments = (n, min(per_batch, n), seed, rank, n_ranks)
        self.collate_fn, self._n_workers = collate, n_workers
        self._context = multiprocessing_context if n_workers else None
        self._number = -1
        self._batch: Batch = None
        self._batches: Iterator[Batch] = iter(())

    @classmethod
    def of_ranks(
        cls,
        settings: Settings,
        dataset: Any,
        collate: Callable[[list[Any]], Batch],
        n_workers: int = 0,
    ) -> Pool:
        """As the options say, dealt to the ranks of torch.distributed; arguments as above."""
        per_batch, seed = settings.pool.pool_per_batch, settings.run.seed or 0
        return cls(dataset, collate, per_batch, seed, rank(), n_ranks(), n_workers)

    def batch(self, number: int) -> Batch:
        """The structures that go with a training batch.

        Args:
            number: of the batch since the start of training, from 0; the same number gives the
                same structures.
        """
        if number != self._number:
            if number != self._number + 1 or self._number < 0:
                self._batches = iter(self._loader(number))
            self._number, self._batch = number, next(self._batches)
        return self._batch

    def _loader(self, first: int) -> torch.utils.data.DataLoader[Any]:
        return torch.utils.data.DataLoader(
            self.dataset,
            batch_sampler=_Order(first, *self._arguments),
            collate_fn=self.collate_fn,
            num_workers=self._n_workers,
            multiprocessing_context=self._context,
            # of its own, so that the trainer's random numbers are what they are without a pool
            generator=torch.Generator().manual_seed(0),
        )


class _Order:
    """Indices of the structures of one batch after the other, without end."""

    def __init__(self, first: int, *arguments: int) -> None:
        self._first, self._arguments = first, arguments

    def __iter__(self) -> Iterator[list[int]]:
        number = self._first
        while True:
            yield choose(number, *self._arguments)
            number += 1


def choose(
    number: int, n_pool: int, per_batch: int, seed: int, rank: int = 0, n_ranks: int = 1
) -> list[int]:
    """The pool's structures that go with a batch.

    Args:
        number: of the batch, from 0.
        n_pool: size of the pool.
        per_batch: number of structures for each batch of each rank.
        seed: of the order.
        rank: this process' rank.
        n_ranks: number of ranks.

    Returns:
        ``per_batch`` indices below ``n_pool``.
    """
    first = (number * n_ranks + rank) * per_batch
    orders: dict[int, Any] = {}
    chosen = []
    for position in range(first, first + per_batch):
        turn, place = divmod(position, n_pool)
        if turn not in orders:
            orders[turn] = np.random.default_rng([seed, turn]).permutation(n_pool)
        chosen.append(int(orders[turn][place]))
    return chosen
