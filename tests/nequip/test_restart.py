"""A restart: the module is the checkpoint's, the files are those of the config given now."""

from __future__ import annotations

import pytest

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.nequip import PIWSLLoss, config
from piwsl_plugins.nequip.restart import take_files_of_config

from .command_line import DATA, run, train, write_config
from .command_line import config as run_config
from .conftest import MODELS
from .test_step import E_F, training

FILES = ("hessian_file", "hessian_valid_file", "pool_file")
LOSS = {"_target_": "piwsl_plugins.nequip.PIWSLLoss"}
LABELS = DATA / "ethanol_gfn2_hessian.npz"


@pytest.fixture
def present(tmp_path, monkeypatch):
    """``present(option=path, …)`` is the loss of the config given now; in a folder with old.npz."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.npz").touch()
    return lambda **files: monkeypatch.setattr(config, "present", {**LOSS, **files})


@pytest.mark.parametrize("option", FILES)
def test_files_are_those_of_the_config(option, present):
    loss = PIWSLLoss(**{option: "/elsewhere/old.npz"})
    before = loss.settings.values()
    present(**{option: "new.npz"})
    take_files_of_config(loss)
    assert loss.settings.values() == {**before, option: "new.npz"}


@pytest.mark.parametrize("option", FILES)
def test_files_that_the_config_does_not_name(option, present, caplog):
    present()
    with caplog.at_level("INFO"):
        loss = PIWSLLoss(**{option: "old.npz"})
        take_files_of_config(loss)
    assert loss.settings.values()[option] == "old.npz"
    assert f"{option}=old.npz is the checkpoint's" in caplog.text
    with pytest.raises(SettingsError, match="name it in the loss of the config"):
        take_files_of_config(PIWSLLoss(**{option: "/elsewhere/old.npz"}))


def test_files_that_the_checkpoint_does_not_have(present, caplog):
    """What is only watched can begin at any time; a term or a pool cannot."""
    loss = PIWSLLoss()
    present(hessian_file="a", hessian_valid_file="b", pool_file="c")
    take_files_of_config(loss)
    found = loss.settings.values()
    assert [found[name] for name in FILES] == [None, "b", None]
    for option in ("hessian_file=a", "pool_file=c"):
        assert f"PIWSL: {option} of the config is not used" in caplog.text
    assert "ModelFromCheckpoint" in caplog.text


@pytest.mark.parametrize("ours", [True, False])
def test_a_stock_checkpoint_trains_without_and_says_so(ours, ethanol, monkeypatch, caplog):
    """Where the config has our loss, and the module, as the checkpoint has it, another."""
    from nequip.train import EnergyForceLoss

    module, trainer, data = training(MODELS["nequip"], E_F, {}, 2, max_steps=1)
    module.loss = EnergyForceLoss()
    monkeypatch.setattr(config, "present", dict(LOSS) if ours else None)
    trainer.fit(module, datamodule=data)
    lines = [one.getMessage() for one in caplog.records if "PIWSL: " in one.getMessage()]
    assert len(lines) == ours
    if ours:
        assert "WITHOUT the PIWSL loss" in lines[0] and "ModelFromCheckpoint" in lines[0]
        assert "per_atom_energy_mse, forces_mse" in lines[0]


@pytest.mark.slow
def test_restart_in_another_folder(tmp_path):
    """The labels have moved; what is relative begins in the output folder, as for data."""
    made = run_config(loss={**LOSS, "hessian_file": "../labels.npz"})
    made["hydra"] = {"job": {"chdir": True}}
    made["run"] = ["train"]
    made["data"]["train_file_path"] = f"{DATA}/ethanol_gfn2_train.xyz@5:11"
    wrong = "training_module.loss.hessian_file=labels.npz"
    (tmp_path / "labels.npz").write_bytes(LABELS.read_bytes())
    write_config(tmp_path, made)
    done = run(
        "nequip-train", "config.yaml", wrong, "hydra.run.dir=out", directory=tmp_path, check=False
    )
    assert done.returncode == 2 and "relative to the output folder" in done.stdout
    assert not (tmp_path / "out").exists()
    train(tmp_path, made, "trainer.max_epochs=1")
    (tmp_path / "labels.npz").rename(tmp_path / "moved.npz")
    restart = [f"++ckpt_path={tmp_path}/out/last.ckpt", "trainer.max_epochs=2"]
    moved = "training_module.loss.hessian_file=../moved.npz"
    log = train(tmp_path, made, *restart, moved, output="second")
    assert "Hessian labels for 6 of 6 training structures" in log
