"""Trainings through NequIP's own command line."""

from __future__ import annotations

import subprocess
import sys

import ase.io
import pytest
import torch
import yaml

from piwsl_plugins.labels.hessian_labels import write_labels
from piwsl_plugins.nequip.config import expand
from piwsl_plugins.testing.hessians import springs

from ..bundled import DATA
from .command_line import WITHOUT_US, checkpoint, config, metrics, run, same, train, weights

pytestmark = pytest.mark.slow

STRONG = {"_target_": "piwsl_plugins.nequip.PIWSLLoss", "pitc_weight": 50.0, "pisc_weight": 5.0}


@pytest.fixture(scope="module")
def strong(tmp_path_factory):
    """A run with strong terms, for comparison: its directory and log."""
    directory = tmp_path_factory.mktemp("strong")
    return directory / "out", train(directory, config(loss=STRONG))


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """The same run with NequIP's own loss."""
    directory = tmp_path_factory.mktemp("stock")
    loss = {"_target_": "nequip.train.EnergyForceLoss"}
    return directory / "out", train(directory, config(loss=loss))


def test_weights_0_train_as_the_stock_loss(stock, strong, tmp_path):
    loss = {**STRONG, "pitc_weight": 0.0, "pisc_weight": 0.0}
    log = train(tmp_path, config(loss=loss))
    for part in ("model", "ema"):
        found = weights(tmp_path / "out/last.ckpt", part)
        assert same(found, weights(stock[0] / "last.ckpt", part))
    assert not same(found, weights(strong[0] / "last.ckpt", "ema"))
    assert "the supervised loss alone" in log
    expected = metrics(stock[0])
    assert metrics(tmp_path / "out") == expected


def test_stock_losses_are_left_alone(stock, tmp_path):
    directory, log = stock
    assert "PIWSL" not in log.replace("PIWSLCallback", "")
    program = WITHOUT_US + "from nequip.scripts.train import main; main()"
    arguments = ["-cp", str(directory.parent), "-cn", "config", "hydra.run.dir=out"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "piwsl" not in done.stderr + done.stdout
    for part in ("model", "ema"):
        expected = weights(tmp_path / "out/last.ckpt", part)
        assert same(weights(directory / "last.ckpt", part), expected)
    assert metrics(directory) == metrics(tmp_path / "out")


def test_log(strong):
    directory, log = strong
    lines = [line.partition("PIWSL: ")[2] for line in log.splitlines() if "PIWSL: " in line]
    assert lines[0] == "pitc_weight=50.0, pisc_weight=5.0, consistency_form=first_order"
    assert lines[1].startswith("coefficients in the loss: per_atom_energy_mse 0.5, forces_mse 0.5")
    assert lines[1].endswith("pitc 25, pisc 2.5")
    assert lines[2].startswith("first training step: RMS pitc residual")
    assert "meV/atom, energy RMSE" in lines[2]
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert [line[:18] for line in epochs] == ["epoch 0: base_loss", "epoch 1: base_loss"]
    assert all("; on validation data: force slope" in line for line in epochs)
    columns = metrics(directory)
    for level, count in (("step", 6), ("epoch", 2)):
        for term in ("pitc", "pisc", "forces_mse", "per_atom_energy_mse", "weighted_sum"):
            values = columns[f"train_loss_{level}/{term}"]
            assert len(values) == count and min(values) > 0


def test_a_line_where_nequip_validates(tmp_path):
    log = train(tmp_path, config(loss="piwsl"), "+trainer.check_val_every_n_epoch=2", "run=[train]")
    assert "PIWSL: epoch 1: base_loss=" in log and "PIWSL: epoch 0: " not in log


def test_statistics_validation_and_tests_see_the_original_frames_alone(strong, stock):
    def statistics(log):
        return [line.split(" - ")[1] for line in log.splitlines() if "stats_manager" in line]

    assert statistics(strong[1]) == statistics(stock[1]) != []
    names = [name for name in metrics(strong[0]) if name.startswith(("val", "test"))]
    assert names and not any("pi" in name for name in names)


def test_bare_string_resolver_and_full_form_are_the_same(tmp_path):
    resolver = config(loss="${piwsl:{pitc_weight: 0.001}}")
    logs = {
        "bare": train(tmp_path, config(loss="piwsl"), output="bare"),
        "resolver": train(tmp_path, resolver, output="resolver"),
        "full": train(
            tmp_path,
            config(loss={"_target_": "piwsl_plugins.nequip.PIWSLLoss"}),
            "training_module.loss._target_=piwsl_plugins.nequip.PIWSLLoss",
            output="full",
        ),
    }
    assert all("forces_mse 0.5, pitc 0.0005" in log for log in logs.values())
    first, second, third = (weights(tmp_path / name / "last.ckpt") for name in logs)
    assert same(first, second) and same(first, third)
    stored = checkpoint(tmp_path / "bare/last.ckpt")["hyper_parameters"]["loss"]
    assert stored == expand()


@pytest.mark.parametrize("kind", ["before", "after", "cn"])
def test_command_line_forms(kind, tmp_path):
    made = config(loss=STRONG)
    override = "training_module.loss.pitc_weight=0.25"
    directory = tmp_path / "configs"
    directory.mkdir()
    short = ["trainer.max_epochs=1", "run=[train]"]
    (directory / "some.yaml").write_text(yaml.safe_dump(made))
    arguments = {
        "before": [override, "configs/some.yaml", *short],
        "after": ["configs/some.yaml", override, *short],
        "cn": ["-cp", str(directory), "-cn", "some", override, *short],
    }[kind]
    log = run("nequip-train", *arguments, "hydra.run.dir=out", directory=tmp_path).stdout
    assert "pitc_weight=0.25" in log
    assert (tmp_path / "out/last.ckpt").exists()


def test_restart_repeats_an_uninterrupted_run(tmp_path):
    """Without shuffling, after which NequIP 0.19 itself continues in another order."""
    made = config(loss={**STRONG, "ramp_epochs": 2})
    made["data"]["train_dataloader"]["shuffle"] = False
    train(tmp_path, made, "trainer.max_epochs=3", output="whole")
    train(tmp_path, made, "trainer.max_epochs=1", output="first")
    path = tmp_path / "first/last.ckpt"
    train(tmp_path, made, "trainer.max_epochs=3", f"++ckpt_path={path}", output="second")
    for part in ("model", "ema"):
        second = weights(tmp_path / "second/last.ckpt", part)
        assert same(second, weights(tmp_path / "whole/last.ckpt", part))
    state = checkpoint(tmp_path / "second/last.ckpt")["state_dict"]["loss._extra_state"]
    assert state["coeff_dict"]["pitc"] == 25.0


@pytest.mark.parametrize(
    ("strategy", "displacement"),
    [("nequip.train.SimpleDDPStrategy", "uniform"), ("ddp", "adversarial")],
)
def test_two_ranks_are_one_rank(strategy, displacement, tmp_path):
    """One SGD step on four frames, of which the first is an isolated atom, which has no terms."""
    made = config(loss={**STRONG, "displacement": displacement})
    made["run"] = ["train"]
    made["training_module"]["_target_"] = "nequip.train.NequIPLightningModule"
    made["training_module"]["optimizer"] = {"_target_": "torch.optim.SGD", "lr": 1e-3}
    made["trainer"].update(max_epochs=1, use_distributed_sampler=True)
    made["data"]["train_file_path"] = made["data"]["train_file_path"].replace("@2:11", "@2:6")
    made["data"]["train_dataloader"] = {"batch_size": 4, "shuffle": False}
    train(tmp_path, made, output="one")
    made["data"]["train_dataloader"] = {"batch_size": 2, "shuffle": False}
    made["trainer"]["devices"] = 2
    made["trainer"]["strategy"] = (
        "ddp" if strategy == "ddp" else {"_target_": strategy, "process_group_backend": "gloo"}
    )
    log = train(tmp_path, made, output="two")
    assert "All distributed processes registered. Starting with 2 processes" in log
    one, two = (weights(tmp_path / name / "last.ckpt") for name in ("one", "two"))
    assert one.keys() == two.keys()
    difference = sum((one[key] - two[key]).square().sum() for key in one if one[key].numel())
    size = sum(one[key].square().sum() for key in one if one[key].numel())
    assert (difference / size).sqrt() < 1e-13


@pytest.mark.parametrize(
    "case",
    [
        "allegro",
        "float32",
        "stress",
        "energy_only",
        "accumulation",
        "config",
        "ema_config",
        "schedule_free",
    ],
)
def test_what_nequip_offers_beside(case, tmp_path):
    loss = {**STRONG, "start_epoch": 1} if "config" in case else dict(STRONG)
    name = "periodic" if case == "stress" else "ethanol"
    labelled = ase.io.read(DATA / f"{name}_gfn2_train.xyz", "3:6")
    write_labels(tmp_path / "labels.npz", list(map(springs, labelled)), "springs")
    loss["hessian_file"] = str(tmp_path / "labels.npz")
    made = config("allegro" if case == "allegro" else "nequip", loss)
    if case in ("allegro", "config"):
        loss["displacement"] = "adversarial"
    if case == "float32":
        made["training_module"]["model"]["model_dtype"] = "float32"
    elif case == "stress":
        path = made["data"]["train_file_path"].split("ethanol")[0]
        made["data"]["train_file_path"] = f"{path}periodic_gfn2_train.xyz@3:9"
        made["data"]["val_file_path"] = f"{path}periodic_gfn2_valid.xyz@:2"
        made["data"]["test_file_path"] = f"{path}periodic_gfn2_test.xyz@:2"
        made["data"]["key_mapping"]["REF_stress"] = "stress"
        loss["coeffs"] = {"total_energy": 1.0, "forces": 1.0, "stress": 1.0}
    elif case == "energy_only":
        loss["coeffs"] = {"total_energy": 1.0}
    elif case == "accumulation":
        made["trainer"]["accumulate_grad_batches"] = 2
    elif case == "config":
        made["training_module"]["_target_"] = "nequip.train.ConFIGLightningModule"
    elif case == "ema_config":
        made["training_module"]["_target_"] = "nequip.train.EMAConFIGLightningModule"
    elif case == "schedule_free":
        pytest.importorskip("schedulefree")
        made["training_module"]["_target_"] = "nequip.train.ScheduleFreeLightningModule"
        made["training_module"]["optimizer"]["_target_"] = "schedulefree.AdamWScheduleFree"
    log = train(tmp_path, made)
    assert "TEST RUN END" in log
    columns = metrics(tmp_path / "out")
    assert columns["train_loss_epoch/pitc"][-1] > 0
    assert columns["train_loss_epoch/hessian"][-1] > 0
    assert torch.tensor(columns["train_loss_step/weighted_sum"]).isfinite().all()
    assert ("train_loss_epoch/stress_mse" in columns) == (case == "stress")
    assert ("train_loss_epoch/forces_mse" in columns) == (case != "energy_only")


def test_coefficient_callbacks(tmp_path):
    made = config(loss=STRONG)
    made["trainer"]["max_epochs"] = 3
    made["trainer"]["callbacks"] += [
        {
            "_target_": "nequip.train.callbacks.LossCoefficientScheduler",
            "schedule": {
                1: {"per_atom_energy_mse": 1.0, "forces_mse": 3.0, "pitc": 8.0},
                2: {"per_atom_energy_mse": 1.0, "forces_mse": 1.0},
            },
        },
        {
            "_target_": "nequip.train.callbacks.LossCoefficientMonitor",
            "interval": "epoch",
            "frequency": 1,
        },
    ]
    train(tmp_path, made)
    columns = metrics(tmp_path / "out")
    assert columns["loss_coeff/pitc"] == [25.0, 2.0]
    assert columns["loss_coeff/forces_mse"] == [0.5, 0.75, 0.5]
    assert columns["train_loss_epoch/pisc"][1:] == [0.0, 0.0]
    assert columns["train_loss_epoch/pitc"][2] == 0.0 < columns["train_loss_epoch/pitc"][1]


def test_linear_schedule(tmp_path):
    """NequIP interpolates coefficients that it has divided by the sum of all terms.

    They end as ``final_coeffs`` has them, relative to the supervised ones: (1, 3, 4)/4. Halfway,
    (0.5, 0.5, 25) and (1, 3, 4)/8 give (5/16, 7/16, 12.75), which is divided by 12/16.
    """
    made = config(loss={**STRONG, "pisc_weight": 0.0})
    made["trainer"]["max_epochs"] = 3
    made["trainer"]["callbacks"] += [
        {
            "_target_": "nequip.train.callbacks.LinearLossCoefficientScheduler",
            "final_coeffs": {"per_atom_energy_mse": 1.0, "forces_mse": 3.0, "pitc": 4.0},
            "start_epoch": 0,
            "transition_epochs": 2,
        },
        {
            "_target_": "nequip.train.callbacks.LossCoefficientMonitor",
            "interval": "epoch",
            "frequency": 1,
        },
    ]
    train(tmp_path, made)
    columns = metrics(tmp_path / "out")
    assert columns["loss_coeff/pitc"] == pytest.approx([25.0, 17.0, 1.0])
    assert columns["loss_coeff/forces_mse"] == pytest.approx([1 / 2, 7 / 12, 3 / 4])
    for epoch in range(3):
        terms = {
            name: columns[f"loss_coeff/{name}"][epoch] * columns[f"train_loss_epoch/{name}"][epoch]
            for name in ("per_atom_energy_mse", "forces_mse", "pitc")
        }
        total = columns["train_loss_epoch/weighted_sum"][epoch]
        assert sum(terms.values()) == pytest.approx(total) and terms["pitc"] > 0


def test_softadapt(tmp_path):
    made = config(loss=STRONG)
    made["trainer"]["callbacks"].append(
        {
            "_target_": "nequip.train.callbacks.SoftAdapt",
            "beta": 1.1,
            "interval": "batch",
            "frequency": 2,
        }
    )
    train(tmp_path, made)
    state = checkpoint(tmp_path / "out/last.ckpt")["state_dict"]["loss._extra_state"]
    assert 0 < state["coeff_dict"]["pitc"] != 25.0


def test_dominant_term_is_reported_with_a_remedy(tmp_path):
    loss = {**STRONG, "pitc_weight": 1e7, "pisc_weight": 0.0}
    log = train(tmp_path, config(loss=loss), "trainer.max_epochs=1", "run=[train]")
    assert "can flatten the potential" in log
    remedy = float(log.split("Remedy: pitc_weight=")[1].split(",")[0])
    assert 0 < remedy < 1e7


def test_multirun_wants_another_form(tmp_path):
    arguments = ["-m", "hydra.sweep.dir=sweep", "trainer.max_epochs=1"]
    log = train(tmp_path, config(loss="piwsl"), *arguments, check=False)
    assert "write 'loss: ${piwsl:}' instead" in log
