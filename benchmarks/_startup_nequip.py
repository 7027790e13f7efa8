"""NequIP's part of ``startup.py``: files that ASE reads, into memory, with statistics of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import yaml

NAME, ENDING = "NequIP", "xyz"
TYPES = ["H", "C", "O"]
R_MAX = 4.0


def write_frames(path: Path, numbers: np.ndarray, positions: np.ndarray) -> None:
    """A file of extended XYZ."""
    frames = [ase.Atoms(numbers, one) for one in positions]
    for atoms in frames:
        atoms.info["REF_energy"] = 0.0
        atoms.arrays["REF_forces"] = np.zeros((len(atoms), 3))
    ase.io.write(path, frames)


def command(folder: Path, run: Path, piwsl: dict[str, Path] | None) -> list[str]:
    """What ``nequip-train`` is given; its config is written.

    Args:
        folder: of the data.
        run: the run's own.
        piwsl: PIWSL's options; None for a run without it.
    """
    transforms = "nequip.data.transforms."
    loss: dict[str, Any] = {"_target_": "nequip.train.EnergyForceLoss"}
    if piwsl is not None:
        options = {name: str(value) for name, value in piwsl.items()}
        loss = {"_target_": "piwsl_plugins.nequip.PIWSLLoss", "type_names": TYPES, **options}
    metrics = {"_target_": "nequip.train.EnergyForceMetrics"}
    config = {
        "run": ["train"],
        "data": {
            "_target_": "nequip.data.datamodule.ASEDataModule",
            "seed": 0,
            "train_file_path": str(folder / f"train.{ENDING}"),
            "val_file_path": str(folder / f"valid.{ENDING}"),
            "key_mapping": {"REF_energy": "total_energy", "REF_forces": "forces"},
            "transforms": [
                {
                    "_target_": f"{transforms}ChemicalSpeciesToAtomTypeMapper",
                    "model_type_names": TYPES,
                },
                {"_target_": f"{transforms}NeighborListTransform", "r_max": R_MAX},
            ],
            "train_dataloader": {"batch_size": 10, "shuffle": True},
            "val_dataloader": {"batch_size": 10},
            "stats_manager": {
                "_target_": "nequip.data.CommonDataStatisticsManager",
                "type_names": TYPES,
            },
        },
        "trainer": {
            "_target_": "lightning.Trainer",
            "accelerator": "cpu",
            "max_epochs": 1,
            "enable_progress_bar": False,
            "logger": False,
            "enable_checkpointing": False,
        },
        "training_module": {
            "_target_": "nequip.train.EMALightningModule",
            "loss": loss,
            "val_metrics": metrics,
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
            "model": {
                "_target_": "nequip.model.NequIPGNNModel",
                "seed": 0,
                "model_dtype": "float32",
                "type_names": TYPES,
                "r_max": R_MAX,
                "num_layers": 1,
                "l_max": 0,
                "parity": False,
                "num_features": 16,
                "compile_mode": "eager",
                "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
            },
        },
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    return ["-cp", str(run), "-cn", "config", f"hydra.run.dir={run / 'out'}"]


def run_to_first_step(arguments: list[str], stop: Callable[..., None]) -> None:
    """Be ``nequip-train``, and stop where its first step would be."""
    from nequip.scripts.train import main
    from nequip.train import NequIPLightningModule

    NequIPLightningModule.training_step = stop
    sys.argv = ["nequip-train", *arguments]
    main()
