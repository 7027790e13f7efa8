"""What goes with the training data of a run, known by MACE's training loader."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..labels.hessian_lookup import HessianLabels
from ..terms.neighbours import NeighbourLists
from ..terms.pool import Pool

if TYPE_CHECKING:
    from .first_energies import Expected


@dataclasses.dataclass(frozen=True)
class Companions:
    """What goes with the training data.

    Nothing of it passes through MACE's datasets and collation, model files or checkpoints.

    Attributes:
        labels: Hessian labels, if they have a weight.
        pool: structures beside the training set, if there is use for them.
        valid_labels: Hessian labels of validation structures.
        lists: neighbour lists of the training data and the pool.
        expected: what is known of the energies before the first step, by head.
    """

    labels: HessianLabels | None = None
    pool: Pool | None = None
    valid_labels: HessianLabels | None = None
    lists: NeighbourLists | None = None
    expected: Sequence[Expected] = ()


_NONE = Companions()
_of_loaders: weakref.WeakKeyDictionary[Any, Companions] = weakref.WeakKeyDictionary()


def keep(loader: Any, companions: Companions) -> None:
    """Remember what goes with the data of a training loader, as long as there is this loader."""
    _of_loaders[loader] = companions


def companions_of(loader: Any) -> Companions:
    """What goes with the data of a training loader; empty where nothing has been read."""
    return _of_loaders.get(loader, _NONE)
