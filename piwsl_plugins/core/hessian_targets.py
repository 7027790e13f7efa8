"""What one Hessian label says along one displacement."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor

from .displacements import generator
from .hessian_labels import HessianLabel
from .options import SettingsError
from .settings import Hessian


@dataclasses.dataclass(frozen=True)
class Target:
    """A label along a displacement δ of its structure.

    Attributes:
        label: the label.
        displacement: δ as drawn, ``(n_atoms, 3)`` in Å, float64 on the CPU.
        probe: which of the label's probes it is; None with a Hessian.
    """

    label: HessianLabel
    displacement: Tensor
    probe: int | None

    @property
    def measured(self) -> bool:
        """Whether the change of the forces was measured along this very displacement."""
        return self.probe is not None

    @property
    def columns(self) -> Tensor:
        """The atoms whose forces are known to change, ``(k,)``."""
        return torch.from_numpy(np.asarray(self.label.columns))

    @property
    def n_components(self) -> int:
        """Number of components that δ may have, 3 m."""
        return 3 * len(self.label.rows)

    def size(self, field: Tensor) -> float:
        """Root mean square per component of the atoms that may be displaced, in Å."""
        return math.sqrt(float(field.double().square().sum()) / self.n_components)

    def force_difference(self, field: Tensor) -> Tensor:
        """F(r) − F(r+δ) that the label demands, H δ, ``(k, 3)`` in eV/Å.

        Args:
            field: δ after rounding, ``(n_atoms, 3)`` in Å on the CPU.
        """
        label = self.label
        if self.probe is not None:
            assert label.force_changes is not None
            return -torch.from_numpy(label.force_changes[self.probe])
        assert label.hessian is not None
        vector = field.double()[torch.from_numpy(label.rows)].reshape(-1)
        return (vector @ torch.from_numpy(label.hessian)).view(-1, 3)

    def curvature(self, field: Tensor) -> Tensor:
        """½[E(r+δ) + E(r−δ)] − E(r) that the label demands, ½δᵀHδ, a scalar in eV."""
        label = self.label
        if self.probe is not None and label.curvatures is not None:
            return torch.tensor(float(label.curvatures[self.probe]), dtype=torch.float64)
        if self.probe is not None:
            return 0.5 * (self.force_difference(field) * field.double()).sum()
        vector = field.double()[torch.from_numpy(label.rows)].reshape(-1)
        return 0.5 * vector @ torch.from_numpy(label.block) @ vector


def draw_target(options: Hessian, label: HessianLabel, key: int) -> Target:
    """The displacement of a structure in an epoch, and what its label says along it.

    Args:
        options: ``hessian_displacement`` and ``hessian_step`` are used.
        label: the structure's.
        key: its random key (:func:`piwsl_plugins.core.displacements.structure_keys`).
    """
    if label.hessian is None:
        assert label.displacements is not None
        probe = key % len(label.displacements)
        return Target(label, torch.from_numpy(label.displacements[probe]).double(), probe)
    random = generator(key, "hessian")
    rows = torch.from_numpy(np.asarray(label.rows))
    field = torch.zeros(len(label.numbers), 3, dtype=torch.float64)
    step = options.hessian_step
    assert step is not None  # filled in by the options
    if options.hessian_displacement == "gaussian":
        vectors = torch.randn(len(rows), 3, generator=random, dtype=torch.float64)
        field[rows] = step * vectors
    else:
        component, sign = torch.randint(3 * len(rows), (2,), generator=random).tolist()
        atom, axis = divmod(component, 3)
        field[rows[atom], axis] = step * (1 if sign % 2 else -1)
    return Target(label, field, None)


def check_labels(options: Hessian, labels: list[HessianLabel]) -> None:
    """Refuse labels that the form cannot be compared with.

    Raises:
        SettingsError: naming ``hessian_form``.
    """
    for index, label in enumerate(labels):
        of_energies = label.hessian is None and label.force_changes is None
        if of_energies and options.hessian_form != "energies":
            raise SettingsError(
                "hessian_form",
                options.hessian_form,
                f"label {index} (from 0) of hessian_file has probes of energies alone; choose "
                "'energies', or make labels of forces with 'piwsl hessian'",
            )
