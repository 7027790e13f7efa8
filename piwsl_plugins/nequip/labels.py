"""Which labels a loss and metrics read, and what is wrong with those of a frame."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

from nequip.train import MetricsManager
from torch import Tensor

from .frames import Fields
from .metrics import label_of


@dataclasses.dataclass(frozen=True)
class Reads:
    """The labels that the metrics of a data set read.

    Attributes:
        where: these metrics in a config.
        every: with a coefficient or without; a frame that lacks one cannot be evaluated.
        weighted: with a coefficient.
        strict: those of which NaN counts, for lack of ``ignore_nan``.
    """

    where: str
    every: frozenset[str] = frozenset()
    weighted: frozenset[str] = frozenset()
    strict: frozenset[str] = frozenset()

    @classmethod
    def of(cls, where: str, managers: Iterable[MetricsManager | None]) -> Reads:
        """Those of a loss and metrics.

        NequIP multiplies what has a coefficient, even 0, into its weighted sum.
        """
        entries = [
            entry
            for metrics in managers
            if metrics is not None
            for entry in metrics.entries.values()
            if entry.field is not None
        ]
        weighted = [entry for entry in entries if entry.coeff is not None]
        return cls(
            where,
            frozenset(label_of(entry.field) for entry in entries),
            frozenset(label_of(entry.field) for entry in weighted),
            frozenset(label_of(entry.field) for entry in weighted if not entry.ignore_nan),
        )

    def problem_of(self, fields: Fields) -> str | None:
        """What is wrong with a frame's labels, in words that follow its number; None if nothing."""
        for name in self.weighted:
            value = fields.get(name)
            if value is None or _is_finite(value):
                continue
            if value.isinf().any():
                return f"'{name}' is not finite; remove the frame"
            if name in self.strict:
                return (
                    f"'{name}' is not finite, and {self.where} has a coefficient for it; remove "
                    f"the frame, let NaN be no label there (ignore_nan: {{{name}: true}}; in a "
                    "list of metrics ignore_nan: true), or give it no coefficient (null)"
                )
        return None

    def present_in(self, fields: Fields) -> frozenset[str]:
        """Those with a coefficient that a frame has."""
        return frozenset(
            name
            for name in self.weighted
            if name in fields and (_is_finite(fields[name]) or not fields[name].isnan().all())
        )


def _is_finite(value: Tensor) -> bool:
    """Whether all numbers are, by their sum: one look at the values."""
    return math.isfinite(value.sum().item())
