"""Every configuration that we ship trains, shortened, through the real command.

Those of fine-tuning do so in ``test_fine_tuning.py`` and ``test_hessian_fine_tuning.py``, those of
energies with a cheap method in ``test_energies_recipe.py``, those of students in
``test_student.py``.
"""

import re
from pathlib import Path

import ase.io
import pytest
import yaml

from ..alloys import write_alloys
from .conftest import frames, run_command

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(
    path
    for path in (ROOT / "configs" / "mace").glob("*.yaml")
    if not path.stem.startswith(("finetune", "soften", "energies_", "student"))
    or path.stem == "energies_only"
)

TINY = {
    "max_num_epochs": 1,
    "num_channels": 4,
    "num_interactions": 1,
    "max_L": 0,
    "r_max": 3,
    "plot": False,
}

pytestmark = pytest.mark.slow


def options(given):
    return [f"--{name}={value}" for name, value in given.items()]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_config(config, short_data, tmp_path):
    shorter = {
        "work_dir": tmp_path,
        "max_num_epochs": 2,
        "max_ell": 2,
        "correlation": 2,
        "eval_interval": 1,
        "num_channels": 4,
        "num_interactions": 1,
        "r_max": 3.5,
        "name": "run",
        "plot": False,  # half of the time of such a run
    }
    if "start_swa" in config.read_text():
        shorter["start_swa"] = 1
    done = run_command([f"--config={config}", *options(shorter)], short_data)
    # the correction between two methods is trained by MACE alone
    assert ("===========PIWSL===========" in done.stdout) == (config.stem != "correction")
    assert "Error-table" in done.stdout
    assert (tmp_path / "run.model").exists()


@pytest.mark.parametrize("name", ["correction", "energy_heavy", "weak"])
def test_other_elements(name, tmp_path):
    """With files of the user's, without isolated atoms, and no other change."""
    write_alloys(tmp_path)
    files = {f"{part}_file": f"{part}.xyz" for part in ("train", "valid", "test")}
    if name == "weak":
        files["piwsl_pool_file"] = "train.xyz"
    config = ROOT / "configs" / "mace" / f"{name}.yaml"
    arguments = [f"--config={config}", "--name=run", *options(files | TINY)]
    assert "Error-table" in run_command(arguments, tmp_path).stdout
    assert (tmp_path / "run.model").exists()


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "mace").glob("*.yaml")), ids=lambda path: path.stem
)
def test_what_a_config_needs_is_there_or_made_by_the_commands_in_its_comment(path):
    """On a CPU, and without options that name elements unless the comment names them."""
    text = path.read_text()
    comment = "".join(re.findall(r"^#.*\n", text, re.MULTILINE))
    settings = yaml.safe_load(text)
    assert settings["device"] == "cpu"
    made = {
        "finetune/pretrained.model": "finetune_pretrain.yaml",
        "finetune/cool.model": "--name=cool",
        "energies/cheap.xyz": "--out energies/cheap.xyz",
        "energies/train.xyz": "energies_pretrain.yaml",
        "energies/pretrained.model": "energies_pretrain.yaml",
        "student/train.xyz": "--out student/train.xyz",
    }
    for option, file in settings.items():
        if option.endswith("_file") or option == "foundation_model":
            command = made.get(file, f"ase convert --force --image-number .* {file}\n")
            assert (ROOT / file).is_file() or re.search(command, comment), f"{option}: {file}"
    given = {"atomic_numbers", "foundation_model"} & settings.keys()
    given |= {"E0s"} if "{" in settings.get("E0s", "") else set()
    advice = "".join(re.findall(r"[Oo]ther elements: (.*)", text))
    assert given == set(re.findall(r"--(\w+)=", advice))


def test_config_of_the_paper(tmp_path):
    """In the folder of the data, on energies alone, as docs/paper.md has it."""
    for part in ("train", "valid", "test"):
        ase.io.write(tmp_path / f"{part}.xyz", frames(f"ethanol_gfn2_{part}", 6))
    arguments = ["--piwsl_base_loss=energy", *options(TINY)]
    config = ROOT / "configs" / "paper" / "mace.yaml"
    done = run_command([f"--config={config}", *arguments], tmp_path)
    settings = (
        "pitc_weight=1.2, pisc_weight=0.01, consistency_form=trapezoid, displacement=atom_norm"
    )
    assert settings in done.stdout
    assert "Error-table" in done.stdout
    assert (tmp_path / "piwsl.model").exists()
