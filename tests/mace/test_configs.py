"""Every configuration that we ship trains, shortened, through the real command.

Those of fine-tuning do so in ``test_fine_tuning.py`` and ``test_hessian_fine_tuning.py``.
"""

from pathlib import Path

import ase.io
import pytest

from .conftest import frames, isolated_atoms, run_command

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(
    path
    for path in (ROOT / "configs" / "mace").glob("*.yaml")
    if not path.stem.startswith(("finetune", "soften"))
)

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
    arguments = [f"--config={config}", *(f"--{name}={value}" for name, value in shorter.items())]
    done = run_command(arguments, ROOT)
    # the correction between two methods is trained by MACE alone
    assert ("===========PIWSL===========" in done.stdout) == (config.stem != "correction")
    assert "Error-table" in done.stdout
    assert (tmp_path / "run.model").exists()


def test_config_of_the_paper(tmp_path):
    """In the folder of the data, on energies alone, as docs/paper.md has it."""
    for part in ("train", "valid", "test"):
        ase.io.write(tmp_path / f"{part}.xyz", frames(f"ethanol_gfn2_{part}", 6))
    shorter = ["max_num_epochs=1", "num_channels=4", "max_L=0", "r_max=3", "device=cpu"]
    arguments = ["--piwsl_base_loss=energy", *(f"--{option}" for option in shorter)]
    config = ROOT / "configs" / "paper" / "mace.yaml"
    done = run_command([f"--config={config}", *arguments], tmp_path)
    options = (
        "pitc_weight=1.2, pisc_weight=0.01, consistency_form=trapezoid, displacement=atom_norm"
    )
    assert options in done.stdout
    assert "Error-table" in done.stdout
    assert (tmp_path / "piwsl.model").exists()
