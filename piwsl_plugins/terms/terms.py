"""What a term of the loss is, and the published ones, PITC and PISC.

A term is an object that says what it needs. It belongs to a :class:`Displacer`, which says which
structures carry it and where these are displaced; terms with the same one share points and
evaluations.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..options.settings import ADVERSARIAL, Consistency
from . import displacements
from .consistency import pisc_residual, pitc_residual, symmetric_residual
from .displacements import Keys
from .hessian_targets import Targets
from .host import Structures
from .penalties import mean_penalty


class Points(Protocol):
    """The structures that carry a term, and the model's answers at their points.

    Attributes:
        n_atoms: ``(n_structures,)``.
        structure_index: ``(n_atoms,)``, the structure of each atom.
        targets: what labels say along the displacements, if there are labels.
    """

    n_atoms: Tensor
    structure_index: Tensor
    targets: Targets | None

    def displacement(self, point: str) -> Tensor:
        """``(n_atoms, 3)`` in Å, as the positions took it after rounding, on the CPU."""

    def energy(self, point: str) -> Tensor:
        """``(n_structures,)`` in eV, at "origin" (r) or a point of the term."""

    def with_forces(self, point: str) -> tuple[Tensor, Tensor]:
        """Energies and forces, ``(n_atoms, 3)`` in eV/Å, at one of the term's ``forces_at``."""


@dataclasses.dataclass(frozen=True)
class Residual:
    """What a term found in a training step.

    Attributes:
        penalty: ``(n,)``, whose mean is the term; differentiable.
        value: ``(n,)``, the residuals in the term's unit, for the log.
        structure: ``(n,)``, the structure to which each belongs.
    """

    penalty: Tensor
    value: Tensor
    structure: Tensor

    def mean(self) -> Tensor:
        """The mean penalty, 0 where no structure has one: the term itself."""
        return mean_penalty(self.penalty)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """What a displacer drew for the structures that it chose.

    Attributes:
        fields: displacements by point, ``(n_atoms, 3)`` in Å, on the CPU.
        targets: what labels say along them, if there are labels.
    """

    fields: dict[str, Tensor]
    targets: Targets | None = None


class Displacer(Protocol):
    """Which structures carry a term, and where they are displaced.

    Attributes:
        reach: how far it will move an atom, in Å; neighbour lists are made for that at once.
        needs_gradient: whether it goes along the gradient of the supervised loss.
    """

    reach: float
    needs_gradient: bool

    def look_up(self, structures: Structures) -> Structures:
        """With what it knows of them; asked for where they are loaded."""

    def choose(self, structures: Structures) -> NDArray[np.bool_]:
        """``(n_structures,)``, of all that the model is called with, looked up."""

    def draw(self, structures: Structures, keys: Keys, gradient: Tensor | None) -> Drawn:
        """Displacements of the chosen structures.

        Args:
            structures: the chosen ones.
            keys: random keys, one per structure.
            gradient: of the supervised loss by their positions, ``(n_atoms, 3)`` on the CPU, if it
                needs it.
        """


class Term(abc.ABC):
    """Base of the terms of the loss.

    Attributes:
        name: in options ("…_weight"), logs and results.
        unit: of its residuals in the log.
        displacer: whose structures and points it uses.
        points: at which it evaluates the model, beside r.
        forces_at: those of them, and "origin", at which it needs forces.
        flattens: whether it pulls curvature towards zero, so that a large weight does harm.
    """

    name: str
    unit: str
    displacer: Displacer
    points: tuple[str, ...]
    forces_at: frozenset[str]
    flattens: bool = False

    @abc.abstractmethod
    def residual(self, at: Points) -> Residual:
        """The term's residuals and penalties."""


class ConsistencyDisplacements:
    """δ and δ' of PITC and PISC, of all structures that may carry terms."""

    def __init__(self, options: Consistency) -> None:
        self.options = options
        self.reach = 3.0**0.5 * options.max_displacement
        self.needs_gradient = options.displacement == ADVERSARIAL

    def look_up(self, structures: Structures) -> Structures:
        """Nothing is known of them."""
        return structures

    def choose(self, structures: Structures) -> NDArray[np.bool_]:
        """All."""
        return np.ones(len(structures), dtype=bool)

    def draw(self, structures: Structures, keys: Keys, gradient: Tensor | None) -> Drawn:
        """δ ("displaced"), −δ ("mirrored") and δ' ("waypoint"), those that are needed."""
        if gradient is None:
            delta = displacements.draw(self.options, "displaced", keys, structures.sizes)
        else:
            delta = displacements.along(gradient, self.options.max_displacement)
        fields = {"displaced": delta}
        if self.options.pisc_weight > 0:
            waypoint = displacements.draw(self.options, "waypoint", keys, structures.sizes)
            fields["waypoint"] = waypoint
        if self.options.consistency_form == "symmetric":
            fields["mirrored"] = -fields["displaced"]
        return Drawn(fields)


class _Consistency(Term):
    """What PITC and PISC have in common."""

    unit = "eV/atom"

    def __init__(self, displacer: ConsistencyDisplacements) -> None:
        self.displacer: Displacer = displacer
        self.options = displacer.options

    def _ends(self, start: str) -> frozenset[str]:
        """Where a path from a point to r+δ needs forces."""
        form = self.options.consistency_form
        ends = {"first_order": {start}, "trapezoid": {start, "displaced"}, "symmetric": set[str]()}
        return frozenset(ends[form])

    def _penalised(self, residual: Tensor, n_atoms: Tensor) -> Residual:
        """The squares of residuals ``(n_structures,)`` in eV, per atom or in total."""
        per_atom = residual / n_atoms.to(residual)
        value = per_atom if self.options.normalization == "per_atom" else residual
        structure = torch.arange(len(n_atoms), device=residual.device)
        return Residual(value.square(), per_atom.detach(), structure)

    def _at_the_end(self, at: Points) -> tuple[Tensor, Tensor | None]:
        """Energy at r+δ, and forces where the form needs them there."""
        if "displaced" in self.forces_at:
            return at.with_forces("displaced")
        return at.energy("displaced"), None


class PITC(_Consistency):
    """Taylor-expansion consistency: the way from r to r+δ (:mod:`.consistency`)."""

    name = "pitc"
    flattens = True

    def __init__(self, displacer: ConsistencyDisplacements) -> None:
        super().__init__(displacer)
        self.forces_at = self._ends("origin")
        self.points = ("displaced",) if self.forces_at else ("displaced", "mirrored")

    def residual(self, at: Points) -> Residual:
        """One residual per structure."""
        if self.forces_at:
            energy, forces = at.with_forces("origin")
            displaced, displaced_forces = self._at_the_end(at)
            field = at.displacement("displaced").to(energy)
            residual = pitc_residual(
                energy, forces, displaced, field, at.structure_index, displaced_forces
            )
        else:
            residual = symmetric_residual(
                at.energy("origin"), at.energy("displaced"), at.energy("mirrored")
            )
        return self._penalised(residual, at.n_atoms)


class PISC(_Consistency):
    """Spatial consistency: a second path, over the waypoint r+δ', must lead to the same energy."""

    name = "pisc"
    points = ("displaced", "waypoint")

    def __init__(self, displacer: ConsistencyDisplacements) -> None:
        super().__init__(displacer)
        self.forces_at = self._ends("waypoint")

    def residual(self, at: Points) -> Residual:
        """One residual per structure."""
        energy, forces = at.with_forces("waypoint")
        displaced, displaced_forces = self._at_the_end(at)
        residual = pisc_residual(
            energy,
            forces,
            displaced,
            at.displacement("displaced").to(energy),
            at.displacement("waypoint").to(energy),
            at.structure_index,
            displaced_forces,
        )
        return self._penalised(residual, at.n_atoms)
