"""Energies and forces of a MACE model at the points r+δ, r−δ and r+δ' of a training step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..core.evaluation import Evaluated
from .transforms import Batch, Structures, join, without_forces

#: a model call: batch and whether to compute forces; gives energies and forces, or None
Call = Callable[[Batch, bool], "tuple[Tensor, Tensor | None]"]
_PAIR = ("displaced", "mirrored")


class Points:
    """The structures of a training step that carry terms, at every point that is evaluated.

    Attributes:
        structures: undisplaced.
        displacement: by point, ``(n_atoms, 3)`` in Å; one that depends on the model's forces is
            added when these are known.
    """

    def __init__(self, structures: Structures, displacement: dict[str, Tensor]) -> None:
        self.structures = structures
        self.displacement = displacement
        self._batches: dict[tuple[str, float], Batch] = {}

    def batch(self, point: str, r_max: float) -> Batch:
        """The structures at "origin" or a displaced point, for a model of this cutoff (Å)."""
        if (point, r_max) not in self._batches:
            field = self.displacement.get(point)
            if point == "origin":
                field = torch.zeros_like(self.structures.positions)
            assert field is not None
            self._batches[point, r_max] = self.structures.displaced(field, r_max)
        return dict(self._batches[point, r_max])


class Evaluations:
    """A model's answers at these points, each evaluated once; the core's ``Evaluator``."""

    def __init__(self, call: Call, points: Points, r_max: float, together: bool) -> None:
        """
        Args:
            call: the model.
            points: where it is evaluated.
            r_max: the model's cutoff in Å.
            together: whether r+δ and r−δ share one call.
        """
        self._call = call
        self._points = points
        self._r_max = r_max
        self._together = together
        self._energies: dict[str, Tensor] = {}
        self._forces: dict[str, Tensor] = {}

    def know(self, point: str, energy: Tensor, forces: Tensor | None) -> None:
        """Take over what another model call has found.

        Args:
            point: where.
            energy: ``(n_structures,)`` in eV.
            forces: ``(n_atoms, 3)`` in eV/Å, or None.
        """
        self._energies[point] = energy
        if forces is not None:
            self._forces[point] = forces

    def with_forces(self, point: str) -> Evaluated:
        """Part of the core's ``Evaluator``."""
        if point not in self._forces:
            self.know(point, *self._call(self._points.batch(point, self._r_max), True))
        return Evaluated(self._energies[point], self._forces[point])

    def energy(self, point: str) -> Tensor:
        """Part of the core's ``Evaluator``: no gradient is worked out for the positions."""
        if point not in self._energies:
            pair = self._together and point in _PAIR and "mirrored" in self._points.displacement
            chosen = _PAIR if pair else (point,)
            batch = join([self._points.batch(name, self._r_max) for name in chosen])
            energy, _ = self._call(without_forces(batch), False)
            for name, part in zip(chosen, energy.chunk(len(chosen)), strict=True):
                self.know(name, part, None)
        return self._energies[point]


def varying_energy(model: torch.nn.Module, output: Batch) -> Tensor:
    """The energy without that of the isolated atoms, which is the same at every point.

    In float32 the total energy of a DFT data set (thousands of eV) has no digits left for a
    residual of some meV. Models of other types give the total energy.
    """
    if output.get("contributions") is not None:  # MACE, EnergyDipolesMACE: E0 comes first
        return output["contributions"][:, 1:].sum(dim=-1)
    if type(model).__name__ == "ScaleShiftMACE":
        return output["interaction_energy"]
    return output["energy"]
