"""A few energies and a cheap method: the commands of docs/few_labels.md on the bundled data."""

from __future__ import annotations

import shutil

import ase.io
import pytest

from piwsl_plugins.tools.command import main

from .command_line import ROOT, metrics, run

pytestmark = pytest.mark.slow


def test_the_pretrained_model_has_the_energy_scale_of_the_expensive_labels(tmp_path, monkeypatch):
    """The two methods differ by 1.6 eV per atom, and no file holds forces of the expensive one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "energies").mkdir()
    for folder in ("data", "configs"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    expensive, pool = (
        ase.io.read("data/ethanol_gfn2_train.xyz", "3:15"),
        "data/ethanol_gfn1_hot.xyz",
    )
    for atoms in expensive:
        del atoms.arrays["REF_forces"]
    ase.io.write("energies/train.xyz", expensive)
    cheap = ("--cheap_labels", "data/ethanol_gfn1_train.xyz", pool)
    out = ("--models", "0", "--offsets", "--out", "energies/cheap.xyz")
    assert main(["weak", "energies/train.xyz", pool, *cheap, *out]) == 0
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
