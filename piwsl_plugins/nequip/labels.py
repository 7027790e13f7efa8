"""Whether the training data has the labels that an option needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from nequip.data import AtomicDataDict
from torch import Tensor

from ..core.settings import Settings, SettingsError


def labelled(batch: AtomicDataDict.Type) -> Tensor:
    """``(n_frames,)`` bool: which frames have energy and force labels; NaN is no label."""
    energy, forces = batch.get("total_energy"), batch.get("forces")
    if energy is None or forces is None:
        return torch.zeros_like(batch["num_atoms"], dtype=torch.bool)
    unknown = (~forces.isfinite().all(dim=-1)).long()
    n_unknown = torch.zeros_like(batch["num_atoms"]).index_add(0, batch["batch"], unknown)
    return energy.isfinite().view(-1) & (n_unknown == 0)


def training_frames(trainer: Any) -> Iterator[AtomicDataDict.Type]:
    """The frames of the training data, as NequIP's datamodule holds them; none without one."""
    for part in getattr(trainer.datamodule, "train_dataset", None) or ():
        for index in range(len(part)):
            yield part[index]


def check_labels(settings: Settings, trainer: Any) -> None:
    """Stop before training if an option needs force labels and no training frame has them.

    Args:
        settings: the options.
        trainer: Lightning's trainer; its NequIP datamodule holds the training data.

    Raises:
        SettingsError: naming the option.
    """
    name = settings.needs_labels()
    if name is None or not getattr(trainer.datamodule, "train_dataset", None):
        return
    frames = training_frames(trainer)
    if any(bool(labelled(AtomicDataDict.with_batch_(frame.copy()))) for frame in frames):
        return
    raise SettingsError(
        name,
        getattr(settings, name),
        "this needs frames with total_energy and forces, but the training data has none; correct "
        "key_mapping in the data section of the config, or choose another value",
    )
