"""Every configuration that we ship trains, shortened, through the real command."""

from pathlib import Path

import ase.io
import pytest

from .conftest import ELEMENTS, frames, isolated_atoms, run_command, train, write_files

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs" / "mace").glob("*.yaml"))

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_config(config, tmp_path):
    shorter = {
        "work_dir": tmp_path,
        "max_num_epochs": 2,
        "max_ell": 2,
        "correlation": 2,
        "eval_interval": 1,
        "num_channels": 4,
        "r_max": 3.5,
        "device": "cpu",
        "name": "run",
    }
    if "start_swa" in config.read_text():
        shorter["start_swa"] = 1
    if config.stem == "quickstart":
        shorter["train_file"] = tmp_path / "train.xyz"
        atoms = isolated_atoms("ethanol_gfn2_train") + frames("ethanol_gfn2_train", 10)
        ase.io.write(shorter["train_file"], atoms)
    if config.stem == "finetune":
        files = write_files(tmp_path, "ethanol_gfn1", 8, 4)
        train(tmp_path / "pretrained", files, loss="weighted", max_num_epochs=1)
        shorter["foundation_model"] = tmp_path / "pretrained" / "run.model"
        shorter["atomic_numbers"] = ELEMENTS
    arguments = [f"--config={config}", *(f"--{name}={value}" for name, value in shorter.items())]
    done = run_command(arguments, ROOT)
    assert "===========PIWSL===========" in done.stdout
    assert "Error-table" in done.stdout
    assert (tmp_path / "run.model").exists()
