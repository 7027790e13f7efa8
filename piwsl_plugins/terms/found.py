"""What PIWSL found in a training step: the one object of ours in a model's output."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from .terms import Term

#: the key under which a model's output has it
KEY = "piwsl"
#: name of the pool among weights and losses, beside those of the terms
POOL = "pool"


@dataclasses.dataclass(frozen=True)
class Found:
    """What :meth:`~piwsl_plugins.terms.training.Training.end` makes of a model's output.

    Structures are those of the trainer's batch that carry a term, then those of the pool.

    Attributes:
        output: the model's, of the trainer's batch alone.
        terms: those that acted.
        penalties: ``(n,)`` by term, each with its structure's weight; their mean is the term.
        residuals: ``(n,)`` by term, in the term's unit.
        pool: the model's output for the structures of the pool, if there were some.
        pool_labels: of these structures, as the host's losses take them.
        weights: of the terms that acted, with the schedule's factor, and of :data:`POOL` where its
            labels are trained on.
        factor: the schedule's.
    """

    output: Any
    terms: Sequence[Term] = ()
    penalties: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    residuals: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    pool: Any = None
    pool_labels: Any = None
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    factor: float = 0.0

    def in_output(self) -> dict[str, Any]:
        """The output, a dictionary, with this under :data:`KEY`, for the trainer's loss."""
        return {**self.output, KEY: self}
