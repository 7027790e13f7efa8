"""A model at the points r, r+δ, r−δ and r+δ' of some frames: the core's ``Evaluator``."""

from __future__ import annotations

import torch
from nequip.data import AtomicDataDict
from torch import Tensor

from ..core.evaluation import Evaluated
from .calls import Calls
from .frames import Frames

#: points of the symmetric form that may share one call
_PAIR = ("displaced", "mirrored")


class Points:
    """Evaluates each point once; what is known already is put into its attributes.

    Attributes:
        evaluated: energies and forces by point.
        energies: energies by point, where forces are not needed.
    """

    def __init__(
        self, model: Calls, frames: Frames, displacement: dict[str, Tensor], join: bool
    ) -> None:
        """
        Args:
            model: what is evaluated.
            frames: the frames.
            displacement: by point, ``(n_atoms, 3)`` in Å; r itself, "origin", is not in it.
            join: whether r+δ and r−δ share one call.
        """
        self.model = model
        self.frames = frames
        self.displacement = displacement
        self.join = join
        self.evaluated: dict[str, Evaluated] = {}
        self.energies: dict[str, Tensor] = {}

    def data(self, point: str) -> AtomicDataDict.Type:
        """The frames at a point, with neighbour lists for the model."""
        displacement = self.displacement.get(point)
        if displacement is None:
            displacement = torch.zeros_like(self.frames.data["pos"])
        return self.frames.displaced(displacement, self.model.r_max)

    def with_forces(self, point: str) -> Evaluated:
        """Part of the core's ``Evaluator``."""
        if point not in self.evaluated:
            self.evaluated[point] = self.model.with_forces(self.data(point))
        return self.evaluated[point]

    def energy(self, point: str) -> Tensor:
        """Part of the core's ``Evaluator``: a model call without forces."""
        if point in self.evaluated:
            return self.evaluated[point].energy
        if point not in self.energies:
            pair = self.join and point in _PAIR and "mirrored" in self.displacement
            points = _PAIR if pair else (point,)
            batch = AtomicDataDict.batched_from_list([self.data(name) for name in points])
            energies = self.model.energy(batch).split(len(self.frames))
            self.energies.update(zip(points, energies, strict=True))
        return self.energies[point]
