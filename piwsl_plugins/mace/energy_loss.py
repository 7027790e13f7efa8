"""The supervised loss on energies alone, which MACE has not (``--piwsl_base_loss=energy``)."""

from __future__ import annotations

import torch
from mace.modules.loss import weighted_mean_squared_error_energy
from torch import Tensor


class EnergyLoss(torch.nn.Module):
    """Mean over structures of the squared error of the energy per atom, in eV².

    The energy part of MACE's weighted loss, with the same weights: ``energy_weight`` of the
    run, and ``weight`` and ``energy_weight`` of each structure (0 without an energy label).
    Forces are neither looked at nor needed in the model's output.
    """

    def __init__(self, energy_weight: float = 1.0) -> None:
        super().__init__()
        weight = torch.tensor(energy_weight, dtype=torch.get_default_dtype())
        self.register_buffer("energy_weight", weight)

    def forward(self, ref, pred: dict[str, Tensor], ddp: bool | None = None) -> Tensor:
        """The loss of a batch, a scalar; arguments as in MACE's losses."""
        return self.energy_weight * weighted_mean_squared_error_energy(ref, pred, ddp)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(energy_weight={self.energy_weight:.3f})"
