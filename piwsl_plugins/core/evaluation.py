"""Which points of the triangle r, r+δ, r+δ' must be evaluated, and what follows from them.

A framework adapter implements :class:`Evaluator`; :func:`residuals` drives it.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import torch
from torch import Tensor

from .consistency import pisc_residual, pitc_residual, work
from .settings import Settings

#: points other than r itself at which a PISC vertex needs energies and forces
_FORCE_POINTS = {
    "displaced": ("waypoint",),
    "extrapolated": ("waypoint",),
    "waypoint": ("displaced",),
    "origin": ("waypoint",),
    "all": ("displaced", "waypoint"),
}


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """A model's answer at one point for all structures of a batch.

    Attributes:
        energy: ``(n_structures,)`` in eV.
        forces: ``(n_atoms, 3)`` in eV/Å.
    """

    energy: Tensor
    forces: Tensor


class Evaluator(Protocol):
    """What an adapter offers for the structures of a batch that carry PIWSL terms."""

    def with_forces(self, point: str) -> Evaluated:
        """Energies and forces at "origin" (r), or at a point of :func:`points_with_forces`."""

    def energy(self, point: str) -> Tensor:
        """Energies alone, ``(n_structures,)`` in eV, at "displaced" or "waypoint"."""


def points_with_forces(settings: Settings) -> tuple[str, ...]:
    """The points beside r at which forces are needed: of "displaced" and "waypoint".

    Everywhere else energies suffice, which is why PITC alone costs one energy evaluation.
    """
    return _FORCE_POINTS[settings.pisc_vertex] if settings.pisc_weight > 0 else ()


def residuals(
    settings: Settings,
    evaluator: Evaluator,
    displacement: Tensor,
    waypoint_displacement: Tensor | None,
    structure_index: Tensor,
    anchor: Evaluated | None = None,
) -> dict[str, Tensor]:
    """Residuals of the terms whose weight is above 0.

    Args:
        settings: the weights and ``pisc_vertex`` are used.
        evaluator: the adapter's evaluator.
        displacement: δ, ``(n_atoms, 3)`` in Å.
        waypoint_displacement: δ', ``(n_atoms, 3)`` in Å; needed for PISC only.
        structure_index: ``(n_atoms,)``, the structure of each atom.
        anchor: E and F at r from which PITC expands; the model's own if None.

    Returns:
        ``{"pitc": (1, n_structures), "pisc": (n_paths, n_structures)}`` in eV, with one row per
        path (four with ``pisc_vertex="all"``); a term of weight 0 is left out.
    """
    forces_at = points_with_forces(settings)
    known: dict[str, Tensor] = {}

    def energy(point: str) -> Tensor:
        if point not in known:
            known[point] = (
                evaluator.with_forces(point).energy
                if point == "origin" or point in forces_at
                else evaluator.energy(point)
            )
        return known[point]

    start = evaluator.with_forces("origin") if anchor is None else anchor
    found = {}
    if settings.pitc_weight > 0:
        found["pitc"] = pitc_residual(
            start.energy, start.forces, energy("displaced"), displacement, structure_index
        ).unsqueeze(0)
    if settings.pisc_weight > 0:
        assert waypoint_displacement is not None
        shifts = {
            "origin": torch.zeros_like(displacement),
            "displaced": displacement,
            "waypoint": waypoint_displacement,
        }

        def path(first: str, last: str, last_energy: Tensor) -> Tensor:
            via = evaluator.with_forces(first)
            return pisc_residual(
                via.energy, via.forces, last_energy, shifts[last], shifts[first], structure_index
            )

        def vertex(name: str) -> Tensor:
            if name == "extrapolated":
                extrapolation = start.energy - work(
                    start.forces, displacement, structure_index, start.energy.shape[0]
                )
                return path("waypoint", "displaced", extrapolation)
            first = "displaced" if name == "waypoint" else "waypoint"
            return path(first, name, energy(name))

        every = ("displaced", "extrapolated", "waypoint", "origin")
        names = every if settings.pisc_vertex == "all" else (settings.pisc_vertex,)
        found["pisc"] = torch.stack([vertex(name) for name in names])
    return found
