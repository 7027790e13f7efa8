"""Hessian labels and a pool through NequIP's own command line."""

from __future__ import annotations

import ase.io
import pytest
import torch
from nequip.data import from_ase
from nequip.data.dataset import NequIPLMDBDataset

from piwsl_plugins.labels.hessian_labels import HESSIAN_KEY
from piwsl_plugins.testing.hessians import springs

from .command_line import (
    checkpoint,
    config,
    metrics,
    run,
    same,
    train,
    weights,
    write_config,
)
from .conftest import DATA

pytestmark = pytest.mark.slow

LOSS = {"_target_": "piwsl_plugins.nequip.PIWSLLoss"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Hessians of frames 3 to 10 of the training file and of the pool's first; the pool."""
    directory = tmp_path_factory.mktemp("files")
    frames = ase.io.read(DATA / "ethanol_gfn2_train.xyz", "3:11")
    pool = ase.io.read(DATA / "ethanol_gfn2_hot.xyz", ":5")
    for atoms, weight in zip(pool, (1.0, 2.0, 0.5, 1.0, 1.0)):
        atoms.info["weight"] = weight
    del pool[2].arrays["REF_forces"]
    ase.io.write(directory / "pool.xyz", pool)
    for atoms in [*frames, pool[0]]:
        atoms.info[HESSIAN_KEY] = springs(atoms).hessian.ravel()
    ase.io.write(directory / "labels.xyz", [*frames, pool[0]])
    lazy = [{**from_ase(atoms, key_mapping={"REF_energy": "total_energy"})} for atoms in pool]
    for frame in lazy:
        frame["weight"] = torch.tensor(0.5)
    NequIPLMDBDataset.save_from_iterator(str(directory / "pool.lmdb"), lazy, map_size=2**24)
    return directory


def everything(files, **options):
    return {
        **LOSS,
        "pitc_weight": 10.0,
        "hessian_file": str(files / "labels.xyz"),
        "pool_file": str(files / "pool.xyz"),
        "pool_per_batch": 2,
        **options,
    }


def test_a_restart_repeats_an_uninterrupted_run_with_all_of_it(files, tmp_path):
    made = config(loss=everything(files))
    made["data"]["train_dataloader"]["shuffle"] = False
    log = train(tmp_path, made, "trainer.max_epochs=3", output="whole")
    for text in (
        "PIWSL: Hessian labels for 8 of 9 training structures, and for 1 of 5 of the pool",
        "PIWSL: pool of 5 structures, 5 with labels; 0 of them are in the training data too",
        "pool_per_batch=2",
        "PIWSL: coefficients in the loss: per_atom_energy_mse 0.5, forces_mse 0.5, pitc 5",
        "PIWSL: epoch 2: base_loss=",
        "eV/Å²); on validation data: force slope 0.",
    ):
        assert text in log
    train(tmp_path, made, "trainer.max_epochs=1", output="first")
    path = tmp_path / "first/last.ckpt"
    train(tmp_path, made, "trainer.max_epochs=3", f"++ckpt_path={path}", output="second")
    whole, second = tmp_path / "whole/last.ckpt", tmp_path / "second/last.ckpt"
    for part in ("model", "ema"):
        assert same(weights(second, part), weights(whole, part))
    columns = metrics(tmp_path / "whole")
    assert len(columns["val_epoch/force_slope"]) == 3
    for name in ("pool", "hessian", "pitc"):
        assert min(columns[f"train_loss_epoch/{name}"]) > 0
    assert not any("pool" in name for name in columns if name.startswith(("val", "test")))
    coeffs = {"per_atom_energy_mse": 0.5, "forces_mse": 0.5, "pitc": 5.0, "hessian": 0.5, "pool": 1}
    total = sum(c * columns[f"train_loss_step/{name}"][0] for name, c in coeffs.items())
    assert total == pytest.approx(columns["train_loss_step/weighted_sum"][0], rel=1e-6)


@pytest.mark.parametrize("pool", ["pool.xyz", "pool.lmdb"])
def test_two_ranks_are_one_rank(pool, files, tmp_path):
    made = config(loss=everything(files, pool_file=str(files / pool), pisc_weight=1.0))
    made["run"] = ["train"]
    made["training_module"]["_target_"] = "nequip.train.NequIPLightningModule"
    made["training_module"]["optimizer"] = {"_target_": "torch.optim.SGD", "lr": 1e-3}
    made["trainer"].update(max_epochs=1, use_distributed_sampler=True)
    # the first frame is an isolated atom
    made["data"]["train_file_path"] = made["data"]["train_file_path"].replace("@2:11", "@2:6")
    made["data"]["train_dataloader"] = {"batch_size": 4, "shuffle": False, "num_workers": 1}
    four = "training_module.loss.pool_per_batch=4"
    train(tmp_path, made, four, output="one")
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


#: stands in for ``nequip-train``: without the generation of machine code, as in ``test_step.py``
COMPILED = """
import functools, torch
torch.compile = functools.partial(torch.compile, backend="aot_eager")
from nequip.scripts.train import main
main()
"""


def test_energies_alone_with_a_compiled_allegro(files, tmp_path):
    """No forces anywhere: not in the supervised loss, not in the terms, not in the pool's."""
    options = {"hessian_form": "energies", "coeffs": {"total_energy": 1.0}}
    made = config("allegro", loss=everything(files, **options))
    made["run"] = ["train"]
    made["training_module"]["model"]["compile_mode"] = "compile"
    write_config(tmp_path, made)
    (tmp_path / "nequip-train.py").write_text(COMPILED)
    words = ["nequip-train.py", "config.yaml", "hydra.run.dir=out", "trainer.max_epochs=1"]
    log = run("python", *words, "+trainer.limit_val_batches=0", directory=tmp_path).stdout
    assert "consistency_form=symmetric" in log and "hessian_weight=100.0" in log
    columns = metrics(tmp_path / "out")
    for name in ("pool", "hessian", "pitc", "weighted_sum"):
        values = torch.tensor(columns[f"train_loss_step/{name}"])
        assert values.isfinite().all() and values.min() > 0


def test_held_out_hessians_are_watched_and_change_nothing(files, tmp_path):
    frames = ase.io.read(DATA / "ethanol_gfn2_valid.xyz", ":3")
    for atoms in frames:
        atoms.info[HESSIAN_KEY] = springs(atoms).hessian.ravel()
    ase.io.write(tmp_path / "held_out.xyz", frames)
    logs, held_out = {}, {"hessian_valid_file": str(tmp_path / "held_out.xyz")}
    for name, given in (("with", held_out), ("no", {}), ("asked", held_out)):
        made = config(loss={**LOSS, "pitc_weight": 0.0, **given})
        if name == "asked":
            made["trainer"]["callbacks"][0]["monitor"] = "val_epoch/hessian_rms"
        logs[name] = train(tmp_path, made, "trainer.max_epochs=2", output=name)
    checkpoints = [tmp_path / name / "last.ckpt" for name in ("with", "no")]
    assert same(*(weights(path, "ema") for path in checkpoints))
    assert "PIWSL: Hessian labels for 3 of" in logs["with"]
    found = metrics(tmp_path / "with")["val_epoch/hessian_rms"]
    assert len(found) == 2 and min(found) > 0.1 and max(found) < 1000.0
    assert f"RMS error of held-out Hessians {found[-1]:.3f} eV/Å²" in logs["with"]
    for name, selects in (("with", False), ("asked", True)):
        (state,) = (
            state
            for key, state in checkpoint(tmp_path / name / "last.ckpt")["callbacks"].items()
            if key.startswith("ModelCheckpoint")
        )
        assert (state["monitor"] == "val_epoch/hessian_rms") == selects
        assert (float(state["best_model_score"]) == pytest.approx(min(found))) == selects


def test_labels_of_other_structures_stop_the_run(files, tmp_path):
    made = config(loss={**LOSS, "hessian_file": str(files / "labels.xyz")})
    for name in ("train", "val", "test"):
        path = made["data"][f"{name}_file_path"]
        made["data"][f"{name}_file_path"] = path.replace("ethanol", "periodic")
    log = train(tmp_path, made, check=False)
    assert "none of its 9 labels belongs to one of the" in log and "Traceback" not in log
