"""A progress bar for what takes long before training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

#: seconds before a bar is shown
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
