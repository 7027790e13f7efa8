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

from . import displacements
from .consistency import pisc_residual, pitc_residual, symmetric_residual, work
from .displacements import Keys
from .hessian_targets import Targets
from .host import Evaluated, Structures
from .settings import Consistency


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
        value: ``(n_paths, n)``, the residuals in the term's unit, for the log.
        structure: ``(n,)``, the structure to which each belongs.
    """

    penalty: Tensor
    value: Tensor
    structure: Tensor


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
        needs_force_labels: whether it asks for them.
    """

    reach: float
    needs_force_labels: bool

    def look_up(self, structures: Structures) -> Structures:
        """With what it knows of them; asked for where they are loaded."""

    def choose(self, structures: Structures, force_labels: Tensor | None) -> NDArray[np.bool_]:
        """``(n_structures,)``.

        Args:
            structures: all that the model is called with, looked up.
            force_labels: theirs, ``(n_atoms, 3)`` in eV/Å, if they are needed.
        """

    def draw(self, structures: Structures, keys: Keys) -> Drawn:
        """Displacements of the chosen structures.

        Args:
            structures: the chosen ones.
            keys: random keys, one per structure.
        """

    def late(self, origin: Evaluated, force_labels: Tensor | None) -> dict[str, Tensor]:
        """Displacements that depend on the model's own forces at r, on the CPU."""


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


class RandomDisplacements:
    """δ and δ' of PITC and PISC, of all structures that may carry terms."""

    def __init__(self, options: Consistency) -> None:
        self.options = options
        self.adversarial = self.needs_force_labels = options.displacement == "adversarial"
        self.symmetric = options.pitc_form == "symmetric"
        self.reach = 3.0**0.5 * options.max_displacement

    def look_up(self, structures: Structures) -> Structures:
        """Nothing is known of them."""
        return structures

    def choose(self, structures: Structures, force_labels: Tensor | None) -> NDArray[np.bool_]:
        """All; with displacement "adversarial" those with force labels."""
        if not self.adversarial:
            return np.ones(len(structures), dtype=bool)
        if force_labels is None:
            return np.zeros(len(structures), dtype=bool)
        known = force_labels.isfinite().all(dim=-1).cpu()
        return np.array([bool(block.all()) for block in known.split(structures.sizes)])

    def draw(self, structures: Structures, keys: Keys) -> Drawn:
        """δ ("displaced") unless it is adversarial, −δ ("mirrored"), δ' ("waypoint")."""
        streams = ["waypoint"] if self.options.pisc_weight > 0 else []
        fields = {
            stream: displacements.draw(self.options, stream, keys, structures.sizes)
            for stream in (streams if self.adversarial else ["displaced", *streams])
        }
        if self.symmetric:
            fields["mirrored"] = -fields["displaced"]
        return Drawn(fields)

    def late(self, origin: Evaluated, force_labels: Tensor | None) -> dict[str, Tensor]:
        """δ along F − F_ref, if it is adversarial."""
        if not self.adversarial:
            return {}
        assert origin.forces is not None and force_labels is not None
        error = origin.forces - force_labels
        return {"displaced": displacements.adversarial(self.options, error).cpu()}


class _Consistency(Term):
    """What PITC and PISC have in common."""

    unit = "eV/atom"

    def __init__(self, displacer: RandomDisplacements) -> None:
        self.displacer: Displacer = displacer
        self.options = displacer.options

    def _penalised(self, residual: Tensor, n_atoms: Tensor) -> Residual:
        """ℓ of residuals ``(n_paths, n_structures)`` in eV, as the options say."""
        per_atom = residual / n_atoms.to(residual)
        value = per_atom if self.options.normalization == "per_atom" else residual
        if self.options.metric == "mse":
            penalty = value.square()
        elif self.options.metric == "mae":
            penalty = value.abs()
        else:
            penalty = torch.nn.functional.huber_loss(
                value, torch.zeros_like(value), reduction="none", delta=self.options.huber_delta
            )
        structure = torch.arange(len(n_atoms), device=residual.device)
        return Residual(penalty.mean(dim=0), per_atom.detach(), structure)


class PITC(_Consistency):
    """Taylor-expansion consistency, E(r+δ) − [E(r) − <δ, F(r)>], or its symmetric form."""

    name = "pitc"
    flattens = True

    def __init__(self, displacer: RandomDisplacements) -> None:
        super().__init__(displacer)
        symmetric = displacer.symmetric
        self.points = ("displaced", "mirrored") if symmetric else ("displaced",)
        self.forces_at = frozenset() if symmetric else frozenset({"origin"})

    def residual(self, at: Points) -> Residual:
        """One residual per structure."""
        if self.forces_at:
            energy, forces = at.with_forces("origin")
            residual = pitc_residual(
                energy,
                forces,
                at.energy("displaced"),
                at.displacement("displaced").to(energy),
                at.structure_index,
            )
        else:
            residual = symmetric_residual(
                at.energy("origin"), at.energy("displaced"), at.energy("mirrored")
            )
        return self._penalised(residual.unsqueeze(0), at.n_atoms)


#: points at which the end of PISC's path needs forces
_FORCES = {
    "displaced": ("waypoint",),
    "extrapolated": ("waypoint", "origin"),
    "waypoint": ("displaced",),
    "origin": ("waypoint",),
}


class PISC(_Consistency):
    """Spatial consistency: a second path, over the waypoint r+δ', must lead to the same energy."""

    name = "pisc"
    points = ("displaced", "waypoint")

    def __init__(self, displacer: RandomDisplacements) -> None:
        super().__init__(displacer)
        vertex = self.options.pisc_vertex
        self.vertices = tuple(_FORCES) if vertex == "all" else (vertex,)
        # an adversarial δ follows from the forces at r, whatever the paths need
        first = {"origin"} if displacer.adversarial else set()
        self.forces_at = frozenset(first.union(*(_FORCES[end] for end in self.vertices)))

    def residual(self, at: Points) -> Residual:
        """One residual per structure and path."""
        paths = torch.stack([self._path(at, vertex) for vertex in self.vertices])
        return self._penalised(paths, at.n_atoms)

    def _path(self, at: Points, vertex: str) -> Tensor:
        first = "displaced" if vertex == "waypoint" else "waypoint"
        last = "displaced" if vertex == "extrapolated" else vertex
        energy, forces = at.with_forces(first)
        displacement = at.displacement("displaced").to(energy)
        if vertex == "extrapolated":
            start, slope = at.with_forces("origin")
            last_energy = start - work(slope, displacement, at.structure_index, len(start))
        else:
            last_energy = at.energy(last)
        shifts = {
            "origin": torch.zeros_like(displacement),
            "displaced": displacement,
            "waypoint": at.displacement("waypoint").to(energy),
        }
        return pisc_residual(
            energy, forces, last_energy, shifts[last], shifts[first], at.structure_index
        )
