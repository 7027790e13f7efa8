"""Which of the points r, r+δ, r−δ, r+δ' must be evaluated, and what follows from them.

A framework adapter implements :class:`Evaluator`; :func:`residuals` drives it.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import torch
from torch import Tensor

from .consistency import pisc_residual, pitc_residual, symmetric_residual, work
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
        """Energies alone, ``(n_structures,)`` in eV, at "origin", "displaced", "mirrored" (r−δ)
        or "waypoint" (r+δ')."""


def points_with_forces(settings: Settings) -> tuple[str, ...]:
    """The points beside r at which forces are needed: of "displaced" and "waypoint".

    Everywhere else energies suffice, which is why PITC alone costs one energy evaluation.
    """
    return _FORCE_POINTS[settings.pisc_vertex] if settings.uses("pisc") else ()


def residuals(
    settings: Settings,
    evaluator: Evaluator,
    displacement: Tensor,
    waypoint_displacement: Tensor | None,
    structure_index: Tensor,
    anchor: Evaluated | None = None,
) -> dict[str, Tensor]:
    """Residuals of the terms whose weight is above 0, before any target is taken off.

    Args:
        settings: the weights, ``pitc_form`` (decided) and ``pisc_vertex`` are used.
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
                if point in forces_at
                else evaluator.energy(point)
            )
        return known[point]

    def start() -> Evaluated:
        return evaluator.with_forces("origin") if anchor is None else anchor

    found = {}
    if settings.uses("pitc"):
        if settings.pitc_form == "symmetric":
            residual = symmetric_residual(energy("origin"), energy("displaced"), energy("mirrored"))
        else:
            first = start()
            residual = pitc_residual(
                first.energy, first.forces, energy("displaced"), displacement, structure_index
            )
        found["pitc"] = residual.unsqueeze(0)
    if settings.uses("pisc"):
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
                first = start()
                extrapolation = first.energy - work(
                    first.forces, displacement, structure_index, first.energy.shape[0]
                )
                return path("waypoint", "displaced", extrapolation)
            first_point = "displaced" if name == "waypoint" else "waypoint"
            return path(first_point, name, energy(name))

        every = ("displaced", "extrapolated", "waypoint", "origin")
        names = every if settings.pisc_vertex == "all" else (settings.pisc_vertex,)
        found["pisc"] = torch.stack([vertex(name) for name in names])
    return found


def against_target(
    settings: Settings,
    found: dict[str, Tensor],
    displacement: Tensor,
    structure_index: Tensor,
    known_curvature: Tensor | None = None,
    reference: dict[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """What of the residuals counts, by ``pitc_target``.

    Args:
        settings: ``pitc_target`` and ``curvature_bound`` are used.
        found: the model's residuals, from :func:`residuals`.
        displacement: δ, ``(n_atoms, 3)`` in Å.
        structure_index: ``(n_atoms,)``, the structure of each atom.
        known_curvature: ½δᵀH_ref δ, ``(n_structures,)`` in eV, for target "curvature"
            (:func:`piwsl_plugins.core.curvature.known_curvatures`).
        reference: :func:`residuals` of the frozen model, for target "reference", or in place of
            the bound of "ceiling" and "floor".

    Returns:
        residuals of the same shapes, in eV: what penalties are made of. Of a bound, how far it
        is violated, 0 if it is not.
    """
    target = settings.pitc_target
    if target == "zero":
        return found
    if target == "reference":
        assert reference is not None
        return {term: value - reference[term].detach() for term, value in found.items()}
    if "pitc" not in found:
        return found
    residual = found["pitc"]
    if target == "curvature":
        assert known_curvature is not None
        return {**found, "pitc": residual - known_curvature}
    if reference is not None:
        bound = reference["pitc"].detach()
    else:
        assert settings.curvature_bound is not None
        lengths = work(displacement, displacement, structure_index, residual.shape[-1])
        bound = 0.5 * settings.curvature_bound * lengths
    excess = residual - bound if target == "ceiling" else bound - residual
    return {**found, "pitc": excess.clamp(min=0.0)}
