"""Wrong calls of ``nequip-train`` with our loss: one line, exit code 2, and no checkpoint."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf

from piwsl_plugins.labels.hessian_labels import write_labels
from piwsl_plugins.nequip._hydra import ConfigCallback
from piwsl_plugins.testing.hessians import springs

from .command_line import checkpoint, config, same, train, weights
from .conftest import DATA
from .test_bad_data import LOSS, failing
from .test_training import STRONG

#: values that an option does not take
VALUES = {
    "pitc_weight": (-1, "nan", "inf", "lots", [1], True),
    "pisc_weight": (-1, "lots"),
    "hessian_weight": (-0.1,),
    "pool_weight": (-1,),
    "max_displacement": (0, 0.6, -0.1, "nan"),
    "displacement": ("cubic", 3),
    "preset": ("strong",),
    "interval": (0, 1.5),
    "ramp_epochs": (-1,),
    "pool_per_batch": (0, "two"),
    "seed": (-1, "x"),
    "hessian_form": ("matrix",),
    "hessian_file": ("absent.npz", "."),
    "pool_file": ("absent.xyz", "."),
    "hessian_valid_file": ("absent.npz",),
}
#: losses as in a config, and words of the message
LOSSES = {
    "a misspelt loss": ("piwsll", "did you mean 'piwsl'?"),
    "capitals": ("PIWSL", "did you mean 'piwsl'?"),
    "a name of another kind": ("energy", "write 'training_module.loss: piwsl'"),
    "a short target": ({"_target_": "piwsl"}, "'_target_: piwsl_plugins.nequip.PIWSLLoss'"),
    "a target without a module": (
        {"_target_": "PIWSL_loss"},
        "'_target_: piwsl_plugins.nequip.PIWSLLoss'",
    ),
    "a misspelt target": (
        {"_target_": "piwsl_plugins.nequip.PIWSLoss"},
        "'_target_: piwsl_plugins.nequip.PIWSLLoss'",
    ),
    "a misspelt option": ({**LOSS, "pitc_wieght": 1}, "did you mean 'pitc_weight'"),
    "of MACE alone": ({**LOSS, "swa_pitc_weight": 1}, "'swa_pitc_weight'"),
    "a resolver's option": ("${piwsl:{displacement: cubic}}", "allowed is one of"),
    "a weight without labels": ({**LOSS, "hessian_weight": 1.0}, "no Hessian labels"),
    "a negative coefficient": (
        {**LOSS, "coeffs": {"total_energy": 1.0, "forces": -1.0}},
        "at least 0",
    ),
    "no energy": ({**LOSS, "coeffs": {"forces": 1.0}}, "total_energy (always)"),
    "an unknown field": ({**LOSS, "coeffs": {"total_energy": 1.0, "force": 1.0}}, "coeffs"),
    "a list of coefficients": ({**LOSS, "coeffs": [1.0, 2.0]}, "coeffs"),
    "both": ({**LOSS, "coeffs": {"total_energy": 1.0}, "metrics": []}, "not both"),
    "a file by a variable": ({**LOSS, "hessian_file": "${oc.env:HOME}/no.npz"}, "no.npz"),
}


def refusal(loss, capsys):
    """The line of the Hydra callback, which acts before there is a folder or a log."""
    with pytest.raises(SystemExit) as ended:
        ConfigCallback().on_run_start(OmegaConf.create({"training_module": {"loss": loss}}))
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith("nequip-train: error: ") and printed.count("\n") == 1
    return printed


@pytest.mark.parametrize(
    ("option", "value"), [(option, value) for option, values in VALUES.items() for value in values]
)
def test_values(option, value, capsys):
    line = refusal({**LOSS, option: value}, capsys)
    assert f"'{option}'" in line and str(value) in line


@pytest.mark.parametrize("case", LOSSES)
def test_losses(case, capsys):
    loss, words = LOSSES[case]
    assert words in refusal(loss, capsys)


def structures(name, *numbers):
    return [ase.io.read(DATA / f"ethanol_gfn2_{name}.xyz", number) for number in numbers]


def of_another_method(frames):
    for atoms in frames:
        atoms.info["REF_energy"] += 430.0 * len(atoms)
    return frames


def hessians(path, frames, change=lambda matrix: matrix):
    labels = map(springs, frames)
    labels = [dataclasses.replace(label, hessian=change(label.hessian)) for label in labels]
    write_labels(path, labels, "made", hdf5=False)


def turned_around(frames):
    return [atoms[::-1] for atoms in frames]


#: what each option that names a file is given, and words of the message
FILES = {
    "no labels at all": ("hessian_file", lambda p: p.touch(), "the file is empty"),
    "words": ("hessian_file", lambda p: p.write_text("dear diary\n"), "ASE cannot read"),
    "a broken archive": ("hessian_file", lambda p: p.write_bytes(b"PK\x05\x06"), "'hessian_file'"),
    "pickled objects": (
        "hessian_file",
        lambda p: np.savez(p.open("wb"), format="piwsl-hessian 1", x=np.array([{}], object)),
        "allow_pickle",
    ),
    "labels of other frames": (
        "hessian_file",
        lambda p: hessians(p, structures("valid", 1, 2)),
        "none of its 2 labels belongs",
    ),
    "another order of atoms": (
        "hessian_file",
        lambda p: hessians(p, turned_around(structures("train", 4, 5))),
        "none of its 2 labels belongs",
    ),
    "a triangle": (
        "hessian_file",
        lambda p: hessians(p, structures("train", 4), lambda one: np.triu(np.ones_like(one))),
        "label 0 (from 0): the Hessian is not symmetric",
    ),
    "atomic units": (
        "hessian_file",
        lambda p: hessians(p, structures("train", 4), lambda one: one / 97.1736),
        "if it is in hartree/bohr², multiply it by 97.1736",
    ),
    "labels of training frames": (
        "hessian_valid_file",
        lambda p: hessians(p, structures("train", 4)),
        "none of its 1 labels belongs",
    ),
    "an empty pool": ("pool_file", lambda p: p.touch(), "the file is empty"),
    "words as a pool": ("pool_file", lambda p: p.write_text("nothing"), "ASE cannot read"),
    "a binary pool": ("pool_file", lambda p: p.write_bytes(bytes(range(256))), "ASE cannot read"),
    "a pool of validation": (
        "pool_file",
        lambda p: ase.io.write(p, structures("valid", 2), format="extxyz"),
        "frame 0 (from 0) is frame 2 (from 0) of the val data",
    ),
    "another element": (
        "pool_file",
        lambda p: ase.io.write(p, ase.Atoms("N2", [[0, 0, 0], [0, 0, 1.1]]), format="extxyz"),
        "frame 0 (from 0) holds N",
    ),
    "another method": (
        "pool_file",
        lambda p: ase.io.write(p, of_another_method(structures("hot", 0, 1)), format="extxyz"),
        "its energies lie on average 430",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", FILES)
def test_files(case, tmp_path):
    option, write, words = FILES[case]
    write(tmp_path / "schön schlecht")
    line = failing(tmp_path, config(loss={**LOSS, option: "schön schlecht"}))
    assert words in line and f"'{option}' = 'schön schlecht'" in line


@pytest.mark.slow
def test_killed_at_a_random_moment_and_restarted(tmp_path):
    """As an uninterrupted run, without shuffling, whose order NequIP 0.19 begins anew."""
    made = config(loss={**STRONG, "ramp_epochs": 2})
    made["data"]["train_dataloader"]["shuffle"] = False
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(made))
    script = Path(sys.executable).with_name("nequip-train")
    command = [script, "config.yaml", "hydra.run.dir=killed", "trainer.max_epochs=500"]
    last = tmp_path / "killed/last.ckpt"
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while not last.exists():
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.02)
        time.sleep(np.random.default_rng(0).uniform(0, 1))
        process.send_signal(signal.SIGKILL)
    n_epochs = checkpoint(last)["epoch"] + 3
    epochs = f"trainer.max_epochs={n_epochs}"
    train(tmp_path, made, epochs, f"++ckpt_path={last}", output="killed")
    train(tmp_path, made, epochs, output="whole")
    for part in ("model", "ema"):
        assert same(weights(last, part), weights(tmp_path / "whole/last.ckpt", part))


@pytest.mark.slow
def test_a_training_that_diverges(tmp_path):
    """NequIP 0.19 goes on to the end with weights that are NaN, and exits with 0."""
    made = config(loss=LOSS)
    made["trainer"]["max_epochs"] = 4
    growing = {"_target_": "torch.optim.lr_scheduler.ExponentialLR", "gamma": 1e30}
    made["training_module"]["lr_scheduler"] = {"scheduler": growing, "interval": "epoch"}
    text = train(tmp_path, made, check=False).rstrip()
    assert text.splitlines()[-1].startswith("epoch 1: the weights are NaN"), text[-2000:]
    for path in (tmp_path / "out").glob("*.ckpt"):
        assert all(value.isfinite().all() for value in weights(path).values())
    assert len(list((tmp_path / "out").glob("*.ckpt"))) == 2
    assert "TEST RUN" not in text
