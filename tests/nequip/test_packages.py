"""Packages, compiled models and fine-tuning."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import numpy as np
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


def test_compiled_model_answers_as_the_checkpoint_and_without_us(tmp_path):
    """AOTInductor, the only mode that NequIP has for present versions of PyTorch.

    On periodic frames: for molecules, NequIP 0.19's own check of the compiled model
    (``nequip/utils/aot.py``) compares stresses, which are then NaN.
    """
    made = config(loss=LOSS)
    for name in ("train", "val", "test"):
        path = made["data"][f"{name}_file_path"].partition("@")[0]
        path = path.replace("ethanol", "periodic")
        made["data"][f"{name}_file_path"] = f"{path}@{'3:9' if name == 'train' else ':2'}"
    train(tmp_path, made, "run=[train]", "trainer.max_epochs=1")
    arguments = ["--mode", "aotinductor", "--device", "cpu", "--target", "ase"]
    paths = {"checkpoint": "out/last.ckpt", "compiled": "model.nequip.pt2"}
    run("nequip-compile", *paths.values(), *arguments, directory=tmp_path)
    with zipfile.ZipFile(tmp_path / paths["compiled"]) as compiled:
        assert not any(b"piwsl" in compiled.read(name) for name in compiled.namelist())

    program = (
        "import json, sys, ase.io\n"
        "from nequip.integrations.ase import NequIPCalculator\n"
        "load = getattr(NequIPCalculator, sys.argv[1])\n"
        "calculator = load(sys.argv[2], chemical_species_to_atom_type_map=True)\n"
        "found = []\n"
        "for atoms in ase.io.read(sys.argv[3], ':3'):\n"
        "    calculator.calculate(atoms)\n"
        "    results = calculator.results\n"
        "    found.append([results['energy'], results['forces'].tolist()])\n"
        "print('found', json.dumps(found))\n"
    )
    data = made["data"]["test_file_path"].partition("@")[0]
    found = []
    for load, kind in (("_from_saved_model", "checkpoint"), ("from_compiled_model", "compiled")):
        text = program if kind == "checkpoint" else WITHOUT_US + program
        done = subprocess.run(
            [sys.executable, "-c", text, load, paths[kind], data],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout.rpartition("found ")[2]))
    assert len({len(forces) for _, forces in found[0]}) > 1, "frames of more than one size"
    for (energy, forces), (compiled_energy, compiled_forces) in zip(*found):
        assert compiled_energy == pytest.approx(energy, rel=1e-12)
        np.testing.assert_allclose(compiled_forces, forces, rtol=0, atol=1e-10)
