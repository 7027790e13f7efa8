"""A few energies and a cheap method: the commands of docs/few_labels.md on the bundled data."""

import numpy as np
import pytest
import torch

from ..energies_recipe import shift_cheap_labels
from .conftest import run_command

SMALL = {
    "max_num_epochs": 2,
    "eval_interval": 1,
    "plot": False,
    "num_channels": 4,
    "num_interactions": 1,
    "r_max": 3.5,
}

pytestmark = pytest.mark.slow


def test_the_pretrained_model_has_the_energy_scale_of_the_expensive_labels(tmp_path, monkeypatch):
    """The two methods differ by 14 eV per molecule, and MACE keeps E0s of the same elements."""
    monkeypatch.chdir(tmp_path)
    expensive = shift_cheap_labels(tmp_path)
    small = [f"--{name}={value}" for name, value in SMALL.items()]
    run_command(["--config=configs/mace/energies_pretrain.yaml", *small], tmp_path)
    run_command(["--config=configs/mace/energies_finetune.yaml", *small[:3]], tmp_path)
    for name in ("pretrained", "finetuned"):
        model = torch.load(f"energies/{name}.model", weights_only=False)
        energies = model.atomic_energies_fn.atomic_energies.double().flatten()  # H, C, O
        of_molecule = float(energies @ torch.tensor([6.0, 2.0, 1.0], dtype=torch.float64))
        mean = np.mean([atoms.info["REF_energy"] for atoms in expensive])
        # the pool is hotter
        assert of_molecule == pytest.approx(mean, abs=1.0)
