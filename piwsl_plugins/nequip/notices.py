"""What users may not expect of NequIP and Lightning, said in the log before training."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from nequip.data import AtomicDataDict
from nequip.train import EMALightningModule
from nequip.utils import RankedLogger

from .data import Datasets
from .frames import frames_of

logger = RankedLogger(__name__, rank_zero_only=True)

#: a checkpoint's, with Lightning's number of those of one name
_NAME = re.compile(r"(.+?)(?:-v(\d+))?\.ckpt")


def say_that_stress_is_left_out(labels: Collection[str], datasets: Datasets) -> None:
    """Say it where the first training frame has a stress that the loss does not read.

    Args:
        labels: that the loss reads.
        datasets: of the datamodule.
    """
    stress = AtomicDataDict.STRESS_KEY
    if stress in labels:
        return
    for _, dataset in datasets["train"]:
        _, frame = next(iter(frames_of(dataset)))
        if stress in frame and frame[stress].isfinite().all():
            logger.info(
                "PIWSL: the training data has stress labels, and the loss leaves them out; to "
                "train on them, give it coeffs: {total_energy: …, forces: …, stress: …}"
            )
            return


def say_which_checkpoints_count(trainer: lightning.Trainer) -> None:
    """Say it where the folder of a new run has checkpoints of an earlier one."""
    given = [getattr(one, "dirpath", None) for one in trainer.checkpoint_callbacks]
    for folder in sorted({Path(path) for path in given if path is not None}):
        names = sorted(path.name for path in folder.glob("*.ckpt"))
        if names:
            logger.warning(
                f"PIWSL: {folder} has checkpoints of an earlier run, {', '.join(names)}. Lightning "
                f"keeps them: where the name is the same, this run's has the next number "
                f"({_next(names)}). Give each run a folder of its own (hydra.run.dir)"
            )


def warn_of_checkpoints_that_cannot_be_loaded(
    trainer: lightning.Trainer, module: lightning.LightningModule
) -> None:
    """Warn where they are saved during validation, when the model has the averaged weights.

    NequIP 0.19.1 (``nequip/train/ema.py``) does not load these.
    """
    if not isinstance(module, EMALightningModule):
        return
    if any(_saves_in_validation(one, trainer) for one in trainer.checkpoint_callbacks):
        logger.warning(
            "PIWSL: WARNING: no checkpoint of this run can be loaded, with any loss: with "
            "EMALightningModule, NequIP needs check_val_every_n_epoch: 1 and val_check_interval: "
            f"1.0 in the trainer, here {trainer.check_val_every_n_epoch} and "
            f"{trainer.val_check_interval}, and no save_on_train_epoch_end: false"
        )


def _saves_in_validation(callback: Checkpoint, trainer: lightning.Trainer) -> bool:
    """As Lightning 2.6 decides (``callbacks/model_checkpoint.py``)."""
    return (
        isinstance(callback, ModelCheckpoint)
        and callback._every_n_epochs >= 1
        and not callback._should_save_on_train_epoch_end(trainer)
    )


def _next(names: Sequence[str]) -> str:
    """The name that Lightning gives to the next checkpoint that is called like the first."""
    known = [match.groups() for name in names if (match := _NAME.fullmatch(name))]
    stem = known[0][0]
    number = max(int(number or 0) for other, number in known if other == stem)
    return f"{stem}-v{number + 1}.ckpt"
