"""Trainings in which atoms cannot be displaced along the gradient of the supervised loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nequip.train import NequIPLightningModule

from ..errors import SettingsError
from ..options.settings import ADVERSARIAL

if TYPE_CHECKING:
    from .loss import PIWSLLoss


def check_adversarial(module: Any, loss: PIWSLLoss) -> None:
    """Refuse them, where the loss has such displacements.

    Args:
        module: NequIP's training module.
        loss: of the training.

    Raises:
        SettingsError: naming the reason and the remedy.
    """
    if loss.settings.consistency.displacement != ADVERSARIAL:
        return
    if type(module).process_target is not NequIPLightningModule.process_target:
        raise SettingsError(
            "displacement",
            ADVERSARIAL,
            f"{type(module).__name__} makes labels of its own (process_target), so that the "
            "gradient of its loss is not known before its call; choose atom_norm",
        )
    if "LBFGS" in str((module.optimizer_config or {}).get("_target_")):
        raise SettingsError(
            "displacement",
            ADVERSARIAL,
            "LBFGS searches along a line, where every evaluation needs the same displacements, but "
            "these follow the gradient at each; choose atom_norm, or another optimizer",
        )
