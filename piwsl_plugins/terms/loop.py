"""What a training in a loop of one's own is in every framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from ..frames.entries import Entry
from ..frames.structure import Structure
from ..labels.hessian_labels import HessianLabel
from ..labels.hessian_lookup import HessianLabels
from ..labels.hessian_matching import matched_labels
from ..options.settings import Settings
from .displacements import bond_warning
from .distributed import n_ranks, rank
from .found import KEY, Found
from .loading import describing
from .term_table import acts
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


def labels_of_loop(
    settings: Settings,
    carrying: Sequence[Entry],
    others: Sequence[Entry],
    in_pool: Sequence[Structure],
    given: Sequence[HessianLabel] | None,
    tell: Callable[[str], None],
) -> HessianLabels | None:
    """The Hessian labels of a training's structures, if they have a weight.

    Args:
        settings: decided.
        carrying: the training structures that carry terms.
        others: those that do not.
        in_pool: structures of the pool, if there is one.
        given: labels in place of ``hessian_file``.
        tell: takes lines for the user: what has been matched, displacements that are too long for
            the bonds, and that nothing has a weight.

    Raises:
        SettingsError: naming ``hessian_file``, also if no label belongs to a structure.
    """
    if not acts(settings):
        tell("PIWSL: all weights are 0: this trains with the loss alone")
    labels, structures = None, [entry.structure for entry in carrying]
    if settings.hessian.hessian_weight:
        labels, found = matched_labels(
            settings.hessian,
            "hessian_file",
            structures,
            in_pool,
            [entry.structure for entry in others],
            given,
        )
        tell(found)
    warning = bond_warning(settings.consistency, structures)
    if warning:
        tell(warning)
    return labels


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
