"""Hessian labels found by what a structure is."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..frames.identity import StructureIndex
from ..frames.structure import Structure
from .hessian_checks import difference_of
from .hessian_hdf5 import LabelFile
from .hessian_labels import HessianLabel

if TYPE_CHECKING:  # piwsl hessian works without torch
    from ..terms.host import Structures


class HessianLabels:
    """Labels to be found by their structure.

    Attributes:
        reach: how far their probes move an atom, at most, in Å.
        index: their structures, by the number of the label.
    """

    def __init__(self, labels: Iterable[HessianLabel]) -> None:
        """Args: labels: from ``read_labels``; those of an HDF5 file stay in it."""
        self._labels: Sequence[HessianLabel]
        probes: Iterable[Any]
        if isinstance(labels, LabelFile):
            self._labels, structures, probes = labels, labels.structures(), labels.probes()
        else:
            self._labels = list(labels)
            structures = (label.structure for label in self._labels)
            probes = (label.displacements for label in self._labels)
        squares = (np.square(one).sum(axis=-1) for one in probes if one is not None)
        self.reach = max((float(one.max()) for one in squares), default=0.0) ** 0.5
        self.index = StructureIndex(structures)
        self._numbers: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, number: int) -> HessianLabel:
        return self._labels[number]

    def find(self, structure: Structure) -> HessianLabel | None:
        """The label of a structure, or None."""
        number = self.index.find(structure)
        return None if number is None else self._labels[number]

    def contradiction(self, number: int) -> tuple[int, str] | None:
        """The first other label of the same structure that is not a copy, and what differs."""
        for other in self.index.copies(number):
            reason = difference_of(self._labels[number], self._labels[other])
            if reason is not None:
                return other, reason
        return None

    def numbers_of(self, structures: Structures) -> list[int]:
        """Numbers of the labels of a batch's structures, −1 where there is none.

        Each structure is searched for once in a process.
        """
        found = []
        for number in range(len(structures)):
            identity = structures.identity(number)
            label = self._numbers.get(identity)
            if label is None:
                match = self.index.find(structures.structure(number))
                label = self._numbers[identity] = -1 if match is None else match
            found.append(label)
        return found
