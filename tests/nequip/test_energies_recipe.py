"""A few energies and a cheap method: the commands of docs/few_labels.md on the bundled data."""

from __future__ import annotations

import pytest

from ..energies_recipe import shift_cheap_labels
from .command_line import metrics, run

pytestmark = pytest.mark.slow


def test_the_pretrained_model_has_the_energy_scale_of_the_expensive_labels(tmp_path, monkeypatch):
    """The two methods differ by 1.6 eV per atom, and no file holds forces of the expensive one."""
    monkeypatch.chdir(tmp_path)
    shift_cheap_labels(tmp_path)
    for name, *given in (
        ("pretrain", "epochs=4", "training_module.model.num_features=4"),
        ("finetune", "trainer.max_epochs=2", f"checkpoint={tmp_path}/pretrain/best.ckpt"),
    ):
        config = f"configs/nequip/energies_{name}.yaml"
        run("nequip-train", config, f"hydra.run.dir={name}", *given, directory=tmp_path)
    found = metrics(tmp_path / "finetune")
    assert max(found["val0_epoch/per_atom_energy_rmse"]) < 0.5
    assert {n for n in found if n.startswith("train_loss_epoch")} == {
        f"train_loss_epoch/{term}" for term in ("per_atom_energy_mse", "weighted_sum")
    }
