"""Hessian labels as a term of the loss, in the form of forces or of energies (docs/hessian.md)."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..labels.hessian_lookup import HessianLabels
from ..options.settings import Hessian
from .consistency import symmetric_residual
from .displacements import Keys
from .hessian_targets import draw_targets
from .host import Structures
from .penalties import Penalty, Squares
from .terms import Drawn, Points, Residual, Term

#: errors of the Hessian (eV/Å²) times this displacement (Å) are weighed as errors of forces
HESSIAN_LENGTH = 0.05


class HessianDisplacements:
    """δ of Hessian labels, of the structures that have one."""

    needs_gradient = False

    def __init__(self, options: Hessian, labels: HessianLabels) -> None:
        self.options = options
        self.labels = labels
        assert options.hessian_step is not None  # filled in by the options
        # of normal components, the longest vector of ten million
        self.reach = max(6.0 * options.hessian_step, labels.reach)

    def look_up(self, structures: Structures) -> Structures:
        """With the numbers of their labels."""
        if structures.labels is not None:
            return structures
        numbers = np.array(self.labels.numbers_of(structures), dtype=np.int64)
        return dataclasses.replace(structures, labels=numbers)

    def choose(self, structures: Structures) -> NDArray[np.bool_]:
        """Those with a label."""
        assert structures.labels is not None
        return structures.labels >= 0

    def draw(self, structures: Structures, keys: Keys, gradient: Tensor | None) -> Drawn:
        """δ ("probe"), and −δ ("mirrored_probe") where the form needs it."""
        assert structures.labels is not None
        labels = [self.labels[number] for number in structures.labels.tolist()]
        targets = draw_targets(self.options, labels, keys)
        fields = {"probe": targets.displacement}
        if self.options.hessian_form != "forces":
            fields["mirrored_probe"] = -fields["probe"]
        return Drawn(fields, targets)


class _Hessian(Term):
    """What both forms of Hessian labels have in common."""

    name = "hessian"
    unit = "eV/Å²"

    def __init__(self, displacer: HessianDisplacements, penalty: Penalty | None = None) -> None:
        """
        Args:
            displacer: with the labels.
            penalty: of errors of the Hessian times 0.05 Å, by default their squares.
        """
        self.displacer = displacer
        self.penalty = penalty or Squares()


class HessianForces(_Hessian):
    """F(r) − F(r+δ) − H δ, or symmetric ½[F(r−δ) − F(r+δ)] − H δ, per size of δ, in eV/Å².

    Times 0.05 Å it is in eV/Å and is weighed as errors of forces are. For δ with independent
    components of unit variance the mean of its square over all components is the squared Frobenius
    norm of the error of the Hessian, divided by the number of components.
    """

    def __init__(self, displacer: HessianDisplacements, penalty: Penalty | None = None) -> None:
        super().__init__(displacer, penalty)
        self.symmetric = displacer.options.hessian_form == "symmetric"
        self.points = ("probe", "mirrored_probe") if self.symmetric else ("probe",)
        self.forces_at = frozenset({"origin", *self.points})

    def residual(self, at: Points) -> Residual:
        """One residual per component of the atoms whose forces are known to change."""
        targets = at.targets
        assert targets is not None
        field = at.displacement("probe")
        _, forces = at.with_forces("probe")
        change = at.with_forces("origin")[1] - forces
        if self.symmetric:
            mirrored = at.displacement("mirrored_probe")
            half = 0.5 * (at.with_forces("mirrored_probe")[1] - forces)
            # a change of forces that was measured along a probe is one-sided itself
            n_atoms = torch.tensor([len(label.numbers) for label in targets.labels])
            one_sided = torch.tensor(targets.measured).repeat_interleave(n_atoms).unsqueeze(-1)
            change = torch.where(one_sided.to(change.device, non_blocking=True), change, half)
            field = torch.where(one_sided, field, 0.5 * (field - mirrored))
        index = np.repeat(np.arange(len(targets.labels)), targets.n_columns)
        size = torch.from_numpy(targets.sizes(field)[index]).to(change, non_blocking=True)
        columns, structure = (
            torch.from_numpy(array).to(change.device, non_blocking=True)
            for array in (targets.columns, index)
        )
        demanded = targets.force_differences(field).to(change, non_blocking=True)
        value = (change.index_select(0, columns) - demanded) / size.unsqueeze(-1)
        penalty = self.penalty(HESSIAN_LENGTH * value)
        structure = structure.repeat_interleave(penalty.numel() // len(value) if len(value) else 1)
        return Residual(penalty.reshape(-1), value.detach().reshape(-1), structure)


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
        assert at.targets is not None
        field = at.displacement("probe")
        demanded = at.targets.curvatures(field).to(curvature, non_blocking=True)
        # |δ|²: of a δ with n components of unit variance, vᵀHv grows as n
        squares = field.double().square().sum(dim=-1).to(curvature, non_blocking=True)
        squares = torch.zeros_like(curvature).index_add(0, at.structure_index, squares)
        value = 2.0 * (curvature - demanded) / squares
        penalty = self.penalty(HESSIAN_LENGTH * value.unsqueeze(-1)).reshape(-1)
        structure = torch.arange(len(value), device=value.device)
        return Residual(penalty, value.detach(), structure)
