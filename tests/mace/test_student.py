"""A student of a foundation model: the commands of docs/student.md on the bundled data."""

import pytest
import torch

from piwsl_plugins.tools.command import main

from ..student_recipe import CHOSEN, POOL, check_labels, follow
from .conftest import make_model, run_command

SMALL = ["max_num_epochs=1", "eval_interval=1", "plot=False"]
SMALL += ["num_channels=4", "num_interactions=1"]

pytestmark = pytest.mark.slow


def test_both_rounds_are_trained_on_labels_of_the_teacher(tmp_path, monkeypatch):
    from mace.calculators import MACECalculator

    monkeypatch.chdir(tmp_path)
    (tmp_path / "finetune").mkdir()
    model = "finetune/pretrained.model"
    torch.save(make_model(), model)
    logs = []

    def train(words):
        small = [f"--{option}" for option in SMALL]
        logs.append(run_command([*words, *small], tmp_path).stdout)

    follow("configs/mace/student.yaml", tmp_path, train)
    check_labels(MACECalculator(model_paths=model, device="cpu", default_dtype="float64"))
    for log, n in zip(logs, (POOL, POOL + CHOSEN), strict=True):
        assert f"number of configurations: train={n - 1}, valid=1" in log

    # probes of the teacher for the structures of its pool
    probes = ["--max_hessian_atoms", "0", "--probes", "2", "--out", "student/probes.npz"]
    assert main(["hessian", "student/train.xyz", "--calculator", model, *probes]) == 0
    config = ["--config=configs/mace/student.yaml", "--name=probes"]
    train([*config, "--piwsl_hessian_file=student/probes.npz"])
    assert "hessian" in logs[-1].split("Epoch 0: PIWSL")[1].splitlines()[0]
