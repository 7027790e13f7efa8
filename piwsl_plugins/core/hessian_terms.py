"""Hessian labels as a term of the loss, in the form of forces or of energies (docs/hessian.md)."""

from __future__ import annotations

import torch
from torch import Tensor

from .consistency import symmetric_residual
from .hessian_labels import HessianLabels
from .hessian_targets import draw_target
from .host import Evaluated, Structures
from .settings import Hessian
from .terms import Drawn, Points, Residual, Term

#: errors of the Hessian (eV/Å²) times this displacement (Å) are weighed as errors of forces
HESSIAN_LENGTH = 0.05


class HessianDisplacements:
    """δ of Hessian labels, of the structures that have one."""

    def __init__(self, options: Hessian, labels: HessianLabels) -> None:
        self.options = options
        self.labels = labels

    def choose(self, structures: Structures, numbers: Tensor, positions: Tensor) -> Tensor:
        """Those with a label."""
        found = self.labels.find_all(numbers, positions, structures.n_atoms.tolist())
        known = [label is not None for label in found]
        return torch.tensor(known, dtype=torch.bool, device=structures.carry.device)

    def draw(
        self, structures: Structures, numbers: Tensor, positions: Tensor, keys: list[int]
    ) -> Drawn:
        """δ ("probe"), and −δ ("mirrored_probe") where the form needs it."""
        found = self.labels.find_all(numbers, positions, structures.n_atoms.tolist())
        labels = [label for label in found if label is not None]
        targets = [draw_target(self.options, *pair) for pair in zip(labels, keys, strict=True)]
        fields = {"probe": torch.cat([target.displacement for target in targets])}
        if self.options.hessian_form != "forces":
            fields["mirrored_probe"] = -fields["probe"]
        return Drawn(fields, targets)

    def late(self, structures: Structures, origin: Evaluated) -> dict[str, Tensor]:
        """None."""
        return {}


class _Hessian(Term):
    """What both forms of Hessian labels have in common."""

    name = "hessian"
    unit = "eV/Å²"

    def __init__(self, displacer: HessianDisplacements) -> None:
        self.displacer = displacer


class HessianForces(_Hessian):
    """F(r) − F(r+δ) − H δ, or symmetric ½[F(r−δ) − F(r+δ)] − H δ, per size of δ, in eV/Å².

    The mean of its square over all components, times (0.05 Å)², is in (eV/Å)² and is weighed as
    squared errors of forces are. For δ with independent components of unit variance it is the
    squared Frobenius norm of the error of the Hessian, divided by the number of components.
    """

    def __init__(self, displacer: HessianDisplacements) -> None:
        super().__init__(displacer)
        self.symmetric = displacer.options.hessian_form == "symmetric"
        self.points = ("probe", "mirrored_probe") if self.symmetric else ("probe",)
        self.forces_at = frozenset({"origin", *self.points})

    def residual(self, at: Points) -> Residual:
        """One residual per component of the atoms whose forces are known to change."""
        targets, sizes = at.targets, at.n_atoms.tolist()
        fields = at.displacement("probe").split(sizes)
        _, forces = at.with_forces("probe")
        changes = (at.with_forces("origin")[1] - forces).split(sizes)
        if self.symmetric:
            mirrored = at.displacement("mirrored_probe").split(sizes)
            halves = (0.5 * (at.with_forces("mirrored_probe")[1] - forces)).split(sizes)
            # a change of forces that was measured along a probe is one-sided itself
            one_sided = [target.measured for target in targets]
            changes = [a if one else b for one, a, b in zip(one_sided, changes, halves)]
            fields = [a if one else 0.5 * (a - b) for one, a, b in zip(one_sided, fields, mirrored)]
        values, structures = [], []
        for index, (target, change, field) in enumerate(zip(targets, changes, fields)):
            demanded = target.force_difference(field).to(change)
            error = change[target.columns.to(change.device)] - demanded
            values.append((error / target.size(field)).reshape(-1))
            structures.append(torch.full_like(values[-1], index, dtype=torch.long))
        value = torch.cat(values)
        penalty = (HESSIAN_LENGTH * value).square()
        return Residual(penalty, value.detach().unsqueeze(0), torch.cat(structures))


class HessianEnergies(_Hessian):
    """½[E(r+δ) + E(r−δ)] − E(r) − ½δᵀHδ per ½|δ|², in eV/Å².

    The same label in the form of energies, for training without forces: one number per structure.
    """

    points = ("probe", "mirrored_probe")
    forces_at: frozenset[str] = frozenset()

    def residual(self, at: Points) -> Residual:
        """One residual per structure."""
        curvature = symmetric_residual(
            at.energy("origin"), at.energy("probe"), at.energy("mirrored_probe")
        )
        fields = at.displacement("probe").split(at.n_atoms.tolist())
        pairs = list(zip(at.targets, fields, strict=True))
        demanded = torch.stack([target.curvature(field) for target, field in pairs])
        # |δ|²: of a δ with n components of unit variance, vᵀHv grows as n
        squares = torch.stack([field.double().square().sum() for field in fields])
        value = 2.0 * (curvature - demanded.to(curvature)) / squares.to(curvature)
        penalty = (HESSIAN_LENGTH * value).square()
        structure = torch.arange(len(pairs), device=value.device)
        return Residual(penalty, value.detach().unsqueeze(0), structure)
