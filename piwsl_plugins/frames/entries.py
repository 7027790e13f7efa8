"""The structures of a training's data, read once, and where each stands."""

from __future__ import annotations

import dataclasses

from .structure import Structure


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A structure of a training, validation or test set, or of the pool.

    Attributes:
        structure: what it is; its level is that of its head or dataset, where there are several.
        place: the set in words, such as "the validation data of head 'dft'".
        number: its number in this set, from 0.
        labels: names of those that it has and that a loss or metric reads with a weight.
        energy: in eV, or None where none is read.
    """

    structure: Structure
    place: str
    number: int
    labels: frozenset[str] = frozenset()
    energy: float | None = None

    @property
    def where(self) -> str:
        """Number and place, for messages."""
        return f"frame {self.number} (from 0) of {self.place}"
