"""Targets, pool, automatic weight and softening guard through NequIP's own command line."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
import torch

from piwsl_plugins.core import curvature

from .command_line import checkpoint, config, metrics, run, same, train, weights
from .conftest import DATA

pytestmark = pytest.mark.slow

LOSS = {"_target_": "piwsl_plugins.nequip.PIWSLLoss", "coeffs": {"total_energy": 1.0}}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Curvature labels of frames 4 to 10 of the training file, of the pool's, and the pool."""
    directory = tmp_path_factory.mktemp("files")
    frames = ase.io.read(DATA / "ethanol_gfn2_train.xyz", "4:11")
    pool = ase.io.read(DATA / "ethanol_gfn2_hot.xyz", ":3")
    root = np.random.default_rng(0).normal(size=(27, 27))
    labels = [
        curvature.CurvatureLabel(atoms.numbers, atoms.positions, root @ root.T)
        for atoms in [*frames, *pool]
    ]
    curvature.write_labels(directory / "labels.npz", labels, "random numbers")
    ase.io.write(directory / "pool.xyz", pool)
    return directory


def everything(files):
    """Curvature labels, a pool and the automatic weight, on energies alone."""
    return {
        **LOSS,
        "pitc_target": "curvature",
        "curvature_file": str(files / "labels.npz"),
        "unlabeled_file": str(files / "pool.xyz"),
        "pitc_weight": "auto",
        "auto_interval": 2,
    }


def test_a_restart_repeats_an_uninterrupted_run_with_all_of_it(files, tmp_path):
    made = config(loss=everything(files))
    made["data"]["train_dataloader"]["shuffle"] = False
    log = train(tmp_path, made, "trainer.max_epochs=3", output="whole")
    for text in (
        "PIWSL: 7 of 9 training frames have one of the 10 curvature labels",
        "pitc_form: symmetric",
        "pitc_weight: auto",
        "pitc_weight=",
        "PIWSL: epoch 2: force slope on validation data",
    ):
        assert text in log
    assert "can flatten the potential" not in log
    train(tmp_path, made, "trainer.max_epochs=1", output="first")
    path = tmp_path / "first/last.ckpt"
    train(tmp_path, made, "trainer.max_epochs=3", f"++ckpt_path={path}", output="second")
    whole, second = tmp_path / "whole/last.ckpt", tmp_path / "second/last.ckpt"
    for part in ("model", "ema"):
        assert same(weights(second, part), weights(whole, part))
    states = [checkpoint(p)["state_dict"]["loss._extra_state"] for p in (whole, second)]
    assert states[0]["coeff_dict"] == states[1]["coeff_dict"]
    assert states[0]["coeff_dict"]["pitc"] > 0
    assert states[0]["auto"] == states[1]["auto"] and states[0]["auto"]["last"] == 8
    columns = metrics(tmp_path / "whole")
    assert len(columns["val_epoch/force_slope"]) == 3
    assert "train_loss_epoch/forces_mse" not in columns


def test_two_ranks_are_one_rank(files, tmp_path):
    made = config(loss=everything(files))
    made["run"] = ["train"]
    made["training_module"]["_target_"] = "nequip.train.NequIPLightningModule"
    made["training_module"]["optimizer"] = {"_target_": "torch.optim.SGD", "lr": 1e-3}
    made["trainer"].update(max_epochs=1, use_distributed_sampler=True)
    # of the first frame there is no label
    made["data"]["train_file_path"] = made["data"]["train_file_path"].replace("@2:11", "@3:7")
    made["data"]["train_dataloader"] = {"batch_size": 4, "shuffle": False}
    train(tmp_path, made, "+training_module.loss.unlabeled_per_batch=2", output="one")
    made["data"]["train_dataloader"] = {"batch_size": 2, "shuffle": False}
    made["trainer"]["devices"] = 2
    made["trainer"]["strategy"] = {
        "_target_": "nequip.train.SimpleDDPStrategy",
        "process_group_backend": "gloo",
    }
    train(tmp_path, made, output="two")
    one, two = (weights(tmp_path / name / "last.ckpt") for name in ("one", "two"))
    difference = sum((one[key] - two[key]).square().sum() for key in one if one[key].numel())
    size = sum(one[key].square().sum() for key in one if one[key].numel())
    assert (difference / size).sqrt() < 1e-13
    states = [
        checkpoint(tmp_path / name / "last.ckpt")["state_dict"]["loss._extra_state"]
        for name in ("one", "two")
    ]
    assert states[0]["coeff_dict"]["pitc"] == pytest.approx(
        states[1]["coeff_dict"]["pitc"], rel=1e-11
    )


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A directory with out/last.ckpt and model.nequip.zip."""
    directory = tmp_path_factory.mktemp("pretrained")
    made = config(loss={"_target_": "nequip.train.EnergyForceLoss"})
    train(directory, made, "run=[train]", "trainer.max_epochs=1")
    run("nequip-package", "build", "out/last.ckpt", "model.nequip.zip", directory=directory)
    return directory


def test_fine_tuning_against_the_pretrained_model(pretrained, tmp_path):
    """The reference is the model of the config, also after a restart, and in no checkpoint."""
    package = str(pretrained / "model.nequip.zip")
    loss = {**LOSS, "pitc_target": "reference", "pitc_weight": 1e4, "softening_guard": "off"}
    made = config(loss=loss)
    made["run"] = ["train"]
    made["data"]["train_dataloader"]["shuffle"] = False
    made["training_module"]["model"] = {
        "_target_": "nequip.model.modify",
        "modifiers": [{"modifier": "modify_PerTypeScaleShift", "shifts": {"C": -48.0}}],
        "model": {"_target_": "nequip.model.ModelFromPackage", "package_path": package},
    }
    train(tmp_path, made, output="whole")
    columns = metrics(tmp_path / "whole")["train_loss_step/pitc"]
    assert columns[0] < 1e-20 < 1e-16 < columns[-1]
    train(tmp_path, made, "trainer.max_epochs=1", output="first")
    path = tmp_path / "first/last.ckpt"
    train(tmp_path, made, f"++ckpt_path={path}", output="second")
    whole, second = tmp_path / "whole/last.ckpt", tmp_path / "second/last.ckpt"
    assert same(weights(second), weights(whole))
    names = set(checkpoint(whole)["state_dict"])
    plain = {name for name in checkpoint(pretrained / "out/last.ckpt")["state_dict"]}
    ours = {name for name in names ^ plain if not name.startswith("loss.")}
    assert not ours
    # the same from the file, by name
    for name in ("model.nequip.zip", "out/last.ckpt"):
        given = f"+training_module.loss.reference_model={pretrained / name}"
        train(tmp_path, made, given, "trainer.max_epochs=1", output=f"file-{name[:3]}")
        found = metrics(tmp_path / f"file-{name[:3]}")["train_loss_step/pitc"]
        assert found == pytest.approx(columns[:3], rel=1e-6, abs=1e-20)


def test_files_that_do_not_exist_stop_the_run_at_once(tmp_path):
    loss = {**LOSS, "pitc_target": "curvature", "curvature_file": "${oc.env:HOME}/no.npz"}
    log = train(tmp_path, config(loss=loss), check=False)
    assert log.startswith("nequip-train: error: PIWSL option 'curvature_file' = ")
    assert "no.npz': there is no such file" in log and "Building" not in log


@pytest.mark.parametrize("beside", ["scheduler", "config"])
def test_auto_weight_beside_what_sets_weights_itself(beside, tmp_path):
    made = config(loss={**LOSS, "pitc_weight": "auto"})
    if beside == "config":
        made["training_module"]["_target_"] = "nequip.train.ConFIGLightningModule"
    else:
        made["trainer"]["callbacks"].append(
            {
                "_target_": "nequip.train.callbacks.SoftAdapt",
                "beta": 1.1,
                "interval": "batch",
                "frequency": 2,
            }
        )
    log = train(tmp_path, made, check=False)
    assert "'pitc_weight' = 'auto': " in log and "give a number" in log
    assert "first training step" not in log


def test_auto_weight_with_a_compiled_model(tmp_path, monkeypatch):
    """The gradients are taken twice, for which NequIP's compiled graphs must keep their memory."""
    made = config("allegro", loss={**LOSS, "pitc_weight": "auto"})
    made["run"] = ["train"]
    made["training_module"]["model"]["compile_mode"] = "compile"
    (tmp_path / "sitecustomize.py").write_text(
        "import functools, torch\n"
        "torch.compile = functools.partial(torch.compile, backend='aot_eager')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    log = train(tmp_path, made, "trainer.max_epochs=1", "+trainer.limit_val_batches=0")
    assert "pitc_weight=" in log
    values = metrics(tmp_path / "out")["train_loss_step/weighted_sum"]
    assert torch.tensor(values).isfinite().all()
