"""What a training in a loop of one's own is in every framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from ..options.settings import Settings
from .distributed import n_ranks, rank
from .found import KEY, Found
from .loading import describing
from .training import Moment, Training
from .training_log import EpochMeans, describe_options


class Loop:
    """Base of the frameworks' ``PIWSL``.

    Attributes:
        settings: all options, decided.
        training: what is known of it, and done in each step.
        epoch: the present one, from 0, unless calls say another.
        step: number of the next call, from 0, likewise.
    """

    settings: Settings
    training: Training
    epoch: int = 0
    step: int = 0
    _host: Any

    def moment(self, epoch: int | None, step: int | None) -> Moment:
        """Where training stands in a call, of which it may say epoch and step."""
        self.epoch = self.epoch if epoch is None else epoch
        step = self.step if step is None else step
        self.step = step + 1
        return Moment(self.epoch, step, step)

    def loading(self, loader: Any) -> AbstractContextManager[None]:
        """Inside this context a loader does in its workers what can be done before a step.

        Neighbour lists and random keys are then made where the data is loaded, and nothing is
        copied back from a GPU. The steps are the same.

        Args:
            loader: of the training data; its workers must be started inside the context.
        """
        pool, host = self.training.pool, self._host
        loaders = [loader] if pool is None else [loader, pool]
        return describing(loaders, host.description, host.lists, self.training.terms)

    def end_epoch(self) -> EpochMeans:
        """What the terms were on average since the last time; every rank must call it.

        The next calls without an epoch are of the next one.

        Returns:
            means by name, whose ``str`` is a line for a log.
        """
        self.epoch += 1
        means = self.training.end_epoch(reduce=n_ranks() > 1)
        self.training.judge(means)
        return means

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(describe_options(self.settings))})"


def found_in(output: Mapping[str, Any]) -> Found:
    """What was found in the call that gave an output.

    Raises:
        RuntimeError: if it is that of another call of the model.
    """
    found: Found | None = output.get(KEY)
    if found is None:
        raise RuntimeError(
            "PIWSL: this output is not of a call of the PIWSL object, so that no term could act; "
            "call it in place of the model: output = piwsl(batch, epoch)"
        )
    return found


def on_first_rank(log: Callable[[str], None]) -> Callable[[str], None]:
    """Of several ranks the first alone says what is found."""
    return log if rank() == 0 else _nothing


def _nothing(line: str) -> None:
    return None
