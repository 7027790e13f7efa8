"""A progress bar on a terminal, silence in batch jobs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars


class Progress:
    """Bars on standard error, one per stage; nothing unless that is a terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    @contextlib.contextmanager
    def stage(self, name: str, total: float) -> Iterator[Callable[..., None]]:
        """A bar of its own; the function it gives advances it by 1, or by its argument."""
        task = self._bars.add_task(name, total=total)

        def advance(amount: float = 1.0) -> None:
            self._bars.advance(task, amount)

        yield advance

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()
