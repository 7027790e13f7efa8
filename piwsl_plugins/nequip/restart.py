"""A training that goes on from a checkpoint, from which NequIP takes the whole training module.

NequIP 0.19 ignores the ``training_module`` of the config then (``nequip/scripts/train.py``), and
reads the data that the config names.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from nequip.utils import RankedLogger

from ..errors import SettingsError
from . import config

if TYPE_CHECKING:
    from .loss import PIWSLLoss

logger = RankedLogger(__name__, rank_zero_only=True)

_ANEW = (
    "start a new training from its weights: without ckpt_path, and with model: {_target_: "
    "nequip.model.ModelFromCheckpoint, checkpoint_path: …} (docs/fine_tuning.md)"
)


def take_files_of_config(loss: PIWSLLoss) -> None:
    """Let the files of labels and pool be those that the config names now, as data's are.

    Args:
        loss: of the config, or of the checkpoint; told the files of the config.

    Raises:
        SettingsError: for a file of the checkpoint that is not there, where the config names none.
    """
    if config.present is None:
        return
    stored, changes = config.files_of(loss.settings), {}
    for name, option in type(loss.settings).options().items():
        old, new = stored.get(name), config.present.get(name)
        if not option.is_file or new == old:
            continue
        if new is None and not os.path.isfile(str(old)):
            raise SettingsError(
                name,
                old,
                "there is no such file, which the checkpoint names; name it in the loss of the "
                "config, from which a restart takes the files",
            )
        if new is None:
            logger.info(f"PIWSL: {name}={old} is the checkpoint's, as the config names none")
        elif old is None and name != "hessian_valid_file":
            logger.warning(
                f"PIWSL: {name}={new} of the config is not used: NequIP takes the loss from the "
                f"checkpoint, whose training has no {name}. To train with it, {_ANEW}"
            )
        else:
            changes[name] = new
    loss.settings = loss.settings.replace(**changes)


def warn_of_another_loss(loss: Any) -> None:
    """Say that the config's PIWSL loss is not used, as the checkpoint's is another.

    Args:
        loss: of the checkpoint.
    """
    if config.present is not None:
        terms = ", ".join(getattr(loss, "entries", {})) or "none"
        logger.warning(
            "PIWSL: this training goes on WITHOUT the PIWSL loss of the config: NequIP takes the "
            f"loss from the checkpoint, and that is another (its terms: {terms}). To train with "
            f"PIWSL, {_ANEW}"
        )
