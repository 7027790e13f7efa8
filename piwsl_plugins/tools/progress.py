"""The progress bars of a report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from .. import progress


class Progress(contextlib.AbstractContextManager["Progress"]):
    """Bars of :func:`piwsl_plugins.progress.stage`."""

    @contextlib.contextmanager
    def stage(self, name: str, total: float) -> Iterator[Callable[..., None]]:
        """A bar of its own; the function it gives advances it by 1, or by its argument."""
        with progress.stage(name, total) as advance:
            yield advance

    def __exit__(self, *_: object) -> None:
        """Nothing is left to be done."""
