"""What is worked out where training data is loaded, in the loader's workers if there are any."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .host import STRUCTURES, Batch, Structures
from .neighbours import NeighbourLists
from .terms import Term

Collate = Callable[[list[Any]], Batch]


class Describing:
    """A loader's ``collate_fn`` that leaves in each batch what the terms need to know of it.

    So keys of displacements and neighbour lists are not made in the training step, and nothing
    is copied back from the model's device.
    """

    def __init__(
        self,
        collate: Collate,
        describe: Callable[[Batch], Structures],
        lists: NeighbourLists,
        terms: Sequence[Term],
    ) -> None:
        """
        Args:
            collate: the framework's, whose batches take items like a dictionary.
            describe: says what the terms need to know of a batch.
            lists: neighbour lists, kept in each process.
            terms: those that may act.
        """
        self._collate, self._describe, self._lists = collate, describe, lists
        displacers = dict.fromkeys(term.displacer for term in terms)
        self._displacers = sorted(displacers, key=lambda one: one.reach, reverse=True)

    def __call__(self, items: list[Any]) -> Batch:
        """A batch of some items of the dataset."""
        batch = self._collate(items)
        structures = self._describe(batch)
        for displacer in self._displacers:
            structures = displacer.look_up(structures)
            which = structures.carry & displacer.choose(structures)
            structures = structures.with_lists(self._lists, displacer.reach, which)
        batch[STRUCTURES] = structures
        return batch


@contextlib.contextmanager
def describing(loaders: Sequence[Any], *arguments: Any) -> Iterator[None]:
    """Let loaders describe their batches, inside the context.

    Args:
        loaders: torch's, or a :class:`~piwsl_plugins.terms.pool.Pool`.
        arguments: of :class:`Describing`, but for the first.
    """
    collates = [loader.collate_fn for loader in loaders]
    for loader, collate in zip(loaders, collates):
        loader.collate_fn = Describing(collate, *arguments)
    try:
        yield
    finally:
        for loader, collate in zip(loaders, collates):
            loader.collate_fn = collate
