"""MACE for ``crystals.py``: its own trainer, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from _accuracy_cells import ENERGIES_AND_FORCES, FINETUNED, MODEL, OPTIMISER, schedule
from _accuracy_test import load, predict
from _accuracy_training import initialise_worker, train

__all__ = ["NAME", "fine_tune", "load", "model_in", "predict", "pretrain"]

NAME = "mace"
#: with less weight of the energy, whole crystals are off by 0.1 eV per atom
PRETRAINING = {
    **MODEL,
    "num_channels": 32,
    "r_max": 5.0,
    "E0s": "average",
    "lr": 0.01,
    "energy_weight": 100,
    "forces_weight": 100,
    "seed": 0,
}
PRETRAINING_STEPS, PRETRAINING_BATCH = 3000, 8


def model_in(folder: Path) -> Path:
    """The trained model of a folder."""
    return folder / "model.model"


def pretrain(folder: Path, frames: int) -> None:
    """A model of so many frames in ``train.xyz`` of a folder, and of ``valid.xyz``."""
    epochs = round(PRETRAINING_STEPS * PRETRAINING_BATCH / frames)
    _train(PRETRAINING, folder, epochs, PRETRAINING_BATCH)


def fine_tune(
    folder: Path,
    pretrained: Path,
    labels: Path | None,
    epochs: int,
    batch: int,
    rate: float,
    seed: int,
) -> dict[str, float]:
    """Fine-tune to ``train.xyz`` of a folder, with Hessian labels; gives steps and CPU time (s).

    That is the time of the epochs, without set-up and validation.
    """
    arguments = {**ENERGIES_AND_FORCES, **FINETUNED, "foundation_model": pretrained}
    arguments |= {"lr": rate, "seed": seed}
    if labels is not None:
        arguments["piwsl_hessian_file"] = labels
    return _train(arguments, folder, epochs, batch)


def _train(arguments: dict[str, Any], folder: Path, epochs: int, batch: int) -> dict[str, float]:
    initialise_worker()
    files = {"train_file": folder / "train.xyz", "valid_file": folder / "valid.xyz"}
    shape = {"batch_size": batch, "valid_batch_size": batch, **schedule(epochs)}
    base = {"loss": "piwsl", "piwsl_pitc_weight": 0}
    return train({**OPTIMISER, **base, **arguments, **shape, **files}, folder)[1]
