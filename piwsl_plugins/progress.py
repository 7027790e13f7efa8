"""Progress bars on a terminal, silence in batch jobs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

#: seconds before a bar of :func:`shown` is shown
DELAY = 3.0

Item = TypeVar("Item")


def shown(items: Iterable[Item], what: str, total: int | None = None) -> Iterable[Item]:
    """The same items, with a bar on standard error if that is a terminal and they take seconds.

    Args:
        items: to be gone through once.
        what: happens to them, in words.
        total: their number, if they do not know it themselves.
    """
    from tqdm import tqdm

    bar: Iterable[Item] = tqdm(
        items, f"PIWSL: {what}", total, leave=False, disable=None, delay=DELAY
    )
    return bar


@contextlib.contextmanager
def stage(name: str, total: float) -> Iterator[Callable[..., None]]:
    """A bar on standard error if that is a terminal; it stays when the stage has ended.

    Args:
        name: beside the bar.
        total: the amount of work; without any there is no bar.

    Yields:
        a function that advances the bar by 1, or by its argument.
    """
    from tqdm import tqdm

    disable = None if total else True
    with tqdm(
        desc=name, total=total, disable=disable, bar_format="{l_bar}{bar}| {remaining}"
    ) as bar:

        def advance(amount: float = 1.0) -> None:
            bar.update(amount)

        yield advance
