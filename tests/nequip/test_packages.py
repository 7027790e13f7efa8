"""Packages, compiled models and fine-tuning."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import pytest

from .command_line import WITHOUT_US, checkpoint, config, metrics, run, same, train, weights

pytestmark = pytest.mark.slow

LOSS = {"_target_": "piwsl_plugins.nequip.PIWSLLoss", "pitc_weight": 50.0}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A directory with out/last.ckpt and model.nequip.zip."""
    directory = tmp_path_factory.mktemp("trained")
    train(directory, config(loss=LOSS))
    arguments = ["build", "out/last.ckpt", "model.nequip.zip"]
    run("nequip-package", *arguments, directory=directory)
    return directory


def test_package_holds_none_of_our_code_and_loads_without_us(trained):
    with zipfile.ZipFile(trained / "model.nequip.zip") as package:
        names = package.namelist()
        code = [name for name in names if name.endswith(".py")]
        assert len(code) > 20
        assert not any("piwsl" in name for name in names)
        assert not any(b"piwsl" in package.read(name) for name in code)
    program = WITHOUT_US + (
        "from nequip.model.saved_models import load_saved_model\n"
        "model = load_saved_model('model.nequip.zip')\n"
        "print(sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()))\n"
        "assert not any(name.startswith('piwsl') for name in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=trained, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "0"


@pytest.mark.parametrize("source", ["package", "checkpoint"])
def test_fine_tuning(source, trained, tmp_path):
    made = config(loss=LOSS)
    if source == "package":
        model = {"_target_": "nequip.model.ModelFromPackage"}
        model["package_path"] = str(trained / "model.nequip.zip")
    else:
        model = {"_target_": "nequip.model.ModelFromCheckpoint"}
        model["checkpoint_path"] = str(trained / "out/last.ckpt")
    made["training_module"]["model"] = model
    for name in ("train", "val", "test"):
        path = made["data"][f"{name}_file_path"]
        made["data"][f"{name}_file_path"] = path.replace("gfn2", "gfn1")
    train(tmp_path, made)
    assert metrics(tmp_path / "out")["train_loss_epoch/pitc"][-1] > 0
    assert not same(weights(tmp_path / "out/last.ckpt"), weights(trained / "out/last.ckpt"))
    loss = checkpoint(tmp_path / "out/last.ckpt")["hyper_parameters"]["loss"]
    assert loss["_target_"] == "piwsl_plugins.nequip.PIWSLLoss"
