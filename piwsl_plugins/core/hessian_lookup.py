"""Hessian labels found by the geometry of a structure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .frame_checks import digest
from .geometry_index import GeometryIndex
from .hessian_hdf5 import LabelFile
from .hessian_labels import HessianLabel

if TYPE_CHECKING:  # piwsl hessian works without torch
    from torch import Tensor

#: largest difference, per component in Å, of a structure from the one that was labelled
TOLERANCE = 1e-3


class HessianLabels:
    """Labels to be found by the geometry of a structure.

    Attributes:
        reach: how far their probes move an atom, at most, in Å.
    """

    def __init__(self, labels: Iterable[HessianLabel]) -> None:
        """Args: labels: from ``read_labels``; those of an HDF5 file stay in it."""
        self._labels: Sequence[HessianLabel]
        probes: Iterable[Any]
        if isinstance(labels, LabelFile):
            self._labels, geometries, probes = labels, labels.geometries(), labels.probes()
        else:
            self._labels = list(labels)
            geometries = ((label.numbers, label.positions) for label in self._labels)
            probes = (label.displacements for label in self._labels)
        squares = (np.square(one).sum(axis=-1) for one in probes if one is not None)
        self.reach = max((float(one.max()) for one in squares), default=0.0) ** 0.5
        self._index = GeometryIndex(geometries, TOLERANCE)
        self._matches: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._labels)

    def find(self, numbers: Tensor, positions: Tensor) -> HessianLabel | None:
        """The label of a structure with the same atoms in the same order, within 1e-3 Å.

        Args:
            numbers: ``(n_atoms,)``, atomic numbers, on the CPU.
            positions: ``(n_atoms, 3)`` in Å, on the CPU.
        """
        index = self._match(numbers, positions)
        return None if index is None else self._labels[index]

    def has(self, numbers: Tensor, positions: Tensor) -> bool:
        """Whether :meth:`find` would find one; nothing is read from a file for it."""
        return self._match(numbers, positions) is not None

    def _match(self, numbers: Tensor, positions: Tensor) -> int | None:
        """Number of a structure's label; those that have one are searched for once."""
        elements, points = numbers.detach().numpy(), positions.detach().numpy()
        key = digest(elements.tobytes(), points.tobytes())
        index = self._matches.get(key)
        if index is None:
            index = self._index.find(elements, points)
            if index is not None:
                self._matches[key] = index
        return index

    def summary(self, structures: Iterable[tuple[Tensor, Tensor]]) -> tuple[int, int]:
        """How many structures have a label, of how many.

        Args:
            structures: numbers and positions (Å) of each, on the CPU.
        """
        n_found = n = 0
        for structure in structures:
            n_found += self.has(*structure)
            n += 1
        return n_found, n
