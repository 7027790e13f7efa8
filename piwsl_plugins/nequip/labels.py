"""Whether the training data has the labels that an option needs."""

from __future__ import annotations

from typing import Any

from nequip.data import AtomicDataDict

from ..core.settings import Settings, SettingsError
from .evaluation import labelled


def check_labels(settings: Settings, trainer: Any) -> None:
    """Stop before training if an option needs force labels and no training frame has them.

    Args:
        settings: the options.
        trainer: Lightning's trainer; its NequIP datamodule holds the training data.

    Raises:
        SettingsError: naming the option.
    """
    name = settings.needs_labels()
    dataset = getattr(trainer.datamodule, "train_dataset", None)
    if name is None or dataset is None:
        return
    frames = (part[index] for part in dataset for index in range(len(part)))
    if any(bool(labelled(AtomicDataDict.with_batch_(frame.copy()))) for frame in frames):
        return
    raise SettingsError(
        name,
        getattr(settings, name),
        "this needs frames with total_energy and forces, but the training data has none; correct "
        "key_mapping in the data section of the config, or choose another value",
    )
