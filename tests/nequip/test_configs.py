"""The configs of this repository run as they are, but for their length.

Those of fine-tuning do so in ``test_fine_tuning.py``, those of energies with a cheap method in
``test_energies_recipe.py``, those of students in ``test_student.py``.
"""

from __future__ import annotations

import re
import shlex

import ase.io
import pytest
import yaml

from ..alloys import write_alloys
from .command_line import ROOT, metrics, run

pytestmark = pytest.mark.slow

CONFIGS = ROOT / "configs/nequip"
NAMES = sorted(
    path.stem
    for path in CONFIGS.glob("*.yaml")
    if not path.stem.startswith(("finetune", "soften", "energies_", "student"))
    or path.stem == "energies_only"
)
TERMS = ("pitc", "hessian", "pool")
SHORT = ["trainer.max_epochs=1", "+trainer.limit_train_batches=3"]


@pytest.mark.parametrize("name", NAMES)
def test_config(name, tmp_path):
    arguments = [f"configs/nequip/{name}.yaml", f"hydra.run.dir={tmp_path}", *SHORT]
    if "start_epoch" in (CONFIGS / f"{name}.yaml").read_text():
        arguments.append("training_module.loss.start_epoch=0")
    log = run("nequip-train", *arguments, directory=ROOT).stdout
    assert "TEST RUN END" in log
    loss = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["training_module"]["loss"]
    columns = metrics(tmp_path)
    found = {term for term in TERMS if columns.get(f"train_loss_epoch/{term}", [0.0])[0] > 0}
    # the correction between two methods is trained by NequIP alone
    term = next((t for t in ("hessian", "pool") if f"{t}_file" in loss), "pitc")
    assert found == (set() if name == "correction" else {term})


def named(node):
    """Every key and value of a config."""
    if isinstance(node, dict):
        return {*node, *(name for value in node.values() for name in named(value))}
    if isinstance(node, list):
        return {name for value in node for name in named(value)}
    return {node}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_other_elements_need_the_one_override_that_is_named(path):
    text = path.read_text()
    (words,) = re.findall(r"# other elements.*?: (.*)", text)
    (override,) = (word for word in shlex.split(words) if "=" in word)
    config = yaml.safe_load(text)
    assert config.pop(override.partition("=")[0]) is not None
    config.pop("ethanol", None)  # what that is, if it is not given
    assert not named(config) & {"C", "H", "O"}


@pytest.mark.parametrize(
    ("name", "override"),
    [
        ("correction", "type_names=[Cu,Au]"),
        ("sparse_data", "type_names=[Cu,Au]"),
        ("weak", "type_names=[Cu,Au]"),
        ("finetune_pretrain", "shifts={Cu: 0.1, Au: 0.2}"),
    ],
)
def test_other_elements(name, override, tmp_path):
    write_alloys(tmp_path)
    files = {"train": "train", "val": "valid", "test": "test"}
    arguments = [f"data.{part}_file_path={file}.xyz" for part, file in files.items()]
    if name == "weak":
        arguments.append("training_module.loss.pool_file=train.xyz")
    config = ["-cp", str(CONFIGS), "-cn", name]  # as NequIP itself takes every config
    command = ["nequip-train", *config, "hydra.run.dir=out", override, *arguments, *SHORT]
    assert "TEST RUN END" in run(*command, directory=tmp_path).stdout


def test_config_of_the_paper(tmp_path):
    """In the folder of the data, on energies alone, as docs/paper.md has it."""
    for part in ("train", "valid", "test"):
        frames = ase.io.read(ROOT / f"data/ethanol_gfn2_{part}.xyz", ":12")
        ase.io.write(tmp_path / f"{part}.xyz", [atoms for atoms in frames if len(atoms) > 1])
    options = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "type_names=[C,H,O]", "r_max=3.0"]
    options.append("~training_module.loss.coeffs.forces")
    config = ROOT / "configs/paper/nequip.yaml"
    log = run("nequip-train", str(config), "hydra.run.dir=out", *options, directory=tmp_path).stdout
    assert "TEST RUN END" in log
    columns = metrics(tmp_path / "out")
    assert columns["train_loss_epoch/pitc"][0] > 0 and columns["train_loss_epoch/pisc"][0] > 0
    assert "train_loss_epoch/total_energy_mse" in columns  # as published, not per atom
    assert "train_loss_epoch/forces_mse" not in columns
