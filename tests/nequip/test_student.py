"""A student of a foundation model: the commands of docs/student.md on the bundled data."""

from __future__ import annotations

import pytest

from piwsl_plugins.tools.command import main

from ..student_recipe import check_labels, follow
from .command_line import ROOT, metrics, run

pytestmark = pytest.mark.slow
PARTS = ("train", "val", "test")


def test_both_rounds_are_trained_on_labels_of_the_teacher(tmp_path, monkeypatch):
    from nequip.integrations.ase import NequIPCalculator

    monkeypatch.chdir(tmp_path)
    model = ["training_module.model.num_features=4", "training_module.model.radial_mlp_width=8"]
    config = ["-cp", str(ROOT / "configs/nequip"), "-cn", "finetune_pretrain", "run=[train]"]
    frames = [f"data.{part}_file_path={ROOT}/data/ethanol_gfn1_valid.xyz" for part in PARTS]
    out = "hydra.run.dir=finetune/nequip_pretrained"
    short = ["trainer.max_epochs=1", "+trainer.limit_train_batches=2"]
    run("nequip-train", *config, *frames, out, *model, *short, directory=tmp_path)

    def train(words):
        run("nequip-train", *words, *model, "epochs=1", directory=tmp_path)

    follow("configs/nequip/student.yaml", tmp_path, train)
    teacher = "finetune/nequip_pretrained/best.ckpt"
    check_labels(
        NequIPCalculator._from_saved_model(teacher, chemical_species_to_atom_type_map=True)
    )

    # probes of the teacher for the structures of its pool
    probes = ["--max_hessian_atoms", "0", "--probes", "2", "--out", "student/probes.npz"]
    assert main(["hessian", "student/train.xyz", "--calculator", teacher, *probes]) == 0
    given = "+training_module.loss.hessian_file=student/probes.npz"
    train(["configs/nequip/student.yaml", "hydra.run.dir=student/probes", given])
    assert metrics(tmp_path / "student/probes")["train_loss_epoch/hessian"][0] > 0
