"""NequIP for ``crystals.py``: ``nequip-train`` with the configs of fine-tuning, and their options.

Of fine-tuning, numbers of steps, coefficients and the decay of the learning rate are those of MACE.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
from _accuracy_cells import ENERGIES_AND_FORCES, FINAL_LR
from _command import ENVIRONMENT
from ase.data import atomic_numbers

from piwsl_plugins.frames.element_energies import ElementEnergies, compositions
from piwsl_plugins.tools.calculators import CalculatorSource
from piwsl_plugins.tools.loaded_calculators import LoadedCalculator
from piwsl_plugins.tools.loaded_calculators import load as load_calculator

NAME = "nequip"
BIN = Path(sys.executable).parent
CONFIGS = Path(__file__).parents[1] / "configs" / "nequip"
PRETRAINING = (
    "r_max=5.0",
    "training_module.model.num_features=32",
    "training_module.model.radial_mlp_width=64",
    "training_module.optimizer.lr=0.01",
)
PRETRAINING_STEPS, PRETRAINING_BATCH = 9000, 4


def model_in(folder: Path) -> Path:
    """The trained model of a folder."""
    return folder / "best.ckpt"


def pretrain(folder: Path, frames: int) -> None:
    """A model of so many frames in ``train.xyz`` of a folder and of ``valid.xyz``; its package."""
    epochs = round(PRETRAINING_STEPS * PRETRAINING_BATCH / frames)
    shifts = average_energies(ase.io.read(folder / "train.xyz", ":"))
    words = ", ".join(f"{name}: {energy:.6f}" for name, energy in shifts.items())
    options = (*PRETRAINING, f"shifts={{{words}}}")
    _train("finetune_pretrain", folder, epochs, PRETRAINING_BATCH, *options)
    _nequip(folder, "nequip-package", "build", model_in(folder), _package(folder))


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
    loss = "training_module.loss"
    return _train(
        "soften_one_frame",
        folder,
        epochs,
        batch,
        f"package={_package(pretrained.parent)}",
        f"data.seed={seed}",
        f"training_module.optimizer.lr={rate}",
        "training_module.ema_decay=0.99",
        f"{loss}.coeffs.total_energy={ENERGIES_AND_FORCES['energy_weight']}",
        f"{loss}.coeffs.forces={ENERGIES_AND_FORCES['forces_weight']}",
        f"+{loss}.pitc_weight=0",
        f"~{loss}.hessian_file" if labels is None else f"{loss}.hessian_file={labels}",
        # as those coefficients have it
        "training_module.val_metrics.coeffs.per_atom_energy_rmse=null",
    )


def load(path: Path) -> LoadedCalculator:
    """A trained model."""
    return load_calculator(CalculatorSource.parse(str(path)), [])


def predict(
    model: LoadedCalculator, frames: list[ase.Atoms]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Energies (n_frames,) in eV and forces in eV/Å."""
    found = [model.evaluate(atoms, "a frame") for atoms in frames]
    return np.array([one.energy for one in found]), [one.forces for one in found]


def average_energies(frames: list[ase.Atoms]) -> dict[str, float]:
    """Energies of the elements in eV that fit those of the frames best, as MACE's ``average``."""
    names = sorted({symbol for atoms in frames for symbol in atoms.symbols})
    elements = [atomic_numbers[name] for name in names]
    counts = compositions([atoms.numbers for atoms in frames], elements)
    energies = np.array([atoms.info["REF_energy"] for atoms in frames])
    return dict(zip(names, ElementEnergies(counts, energies).energies.tolist(), strict=True))


def _package(folder: Path) -> Path:
    return folder / "model.nequip.zip"


def _train(config: str, folder: Path, epochs: int, batch: int, *options: str) -> dict[str, float]:
    """Gives steps and CPU time (s)."""
    cost = folder / "cpu_time.json"
    checkpoint = "_target_: lightning.pytorch.callbacks.ModelCheckpoint, filename: best"
    checkpoint += f", dirpath: '{folder}', monitor: 'val0_epoch/weighted_sum'"
    timing = f"_target_: benchmarks._nequip_cpu_time.CPUTime, file: '{cost}'"
    decay = FINAL_LR ** (1 / (epochs - 1))
    scheduler = f"{{_target_: torch.optim.lr_scheduler.ExponentialLR, gamma: {decay}}}"
    _nequip(
        folder,
        "nequip-train",
        *("-cp", CONFIGS, "-cn", config),
        f"hydra.run.dir={folder}",
        "run=[train]",
        f"data.train_file_path={folder / 'train.xyz'}",
        f"data.val_file_path={folder / 'valid.xyz'}",
        f"data.train_dataloader.batch_size={batch}",
        "+data.train_dataloader.drop_last=true",
        f"trainer.max_epochs={epochs}",
        f"trainer.callbacks=[{{{checkpoint}}}, {{{timing}}}]",
        f"+training_module.lr_scheduler={{scheduler: {scheduler}, interval: epoch, frequency: 1}}",
        *options,
    )
    found: dict[str, float] = json.loads(cost.read_text())
    return found


def _nequip(folder: Path, program: str, *words: Any) -> None:
    """Run one of NequIP's commands; its output goes to the folder."""
    with (folder / f"{program}.out").open("w") as output:
        subprocess.run(
            [str(word) for word in (BIN / program, *words)],
            check=True,
            env=ENVIRONMENT,
            stdout=output,
            stderr=output,
        )
