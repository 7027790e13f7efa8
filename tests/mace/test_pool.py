"""The pool in whole runs; its gradients are in test_training_step.py, ranks in
test_distributed.py."""

import ase.io
import numpy as np
import pytest
import torch
from mace import modules
from mace.tools.torch_geometric.batch import Batch

from piwsl_plugins.mace.companions import Companions
from piwsl_plugins.mace.ignored_weights import warn_of_weights
from piwsl_plugins.mace.loss import PIWSLLoss
from piwsl_plugins.mace.training import moments_of
from piwsl_plugins.terms.found import KEY
from piwsl_plugins.terms.pool import Pool, choose

from .conftest import (
    assert_same_weights,
    atomic_data,
    batch_of,
    frames,
    isolated_atoms,
    make_model,
    train,
    write_files,
)
from .test_energies_alone import LOSSES
from .test_trainer import entries, log, write_hdf5, write_lmdb
from .test_training_step import settings_for, training_calls


def bare(atoms):
    """Nothing but atoms, as they come from a simulation."""
    return ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


@pytest.fixture
def pool(tmp_path):
    """Five structures beside training and validation data, one of them without labels."""
    structures = frames("ethanol_gfn2_test", 5)
    structures[4] = bare(structures[4])
    ase.io.write(tmp_path / "pool.xyz", isolated_atoms("ethanol_gfn2_train") + structures)
    return tmp_path / "pool.xyz"


@pytest.mark.parametrize("one_step", [False, True])
def test_steps_go_through_the_pool_in_the_order_of_the_core(one_step, monkeypatch):
    """... and all evaluations of a line search see the same structures."""
    dataset = [atomic_data(atoms) for atoms in frames("ethanol_gfn2_test", 5)]
    pool = Pool(dataset, Batch.from_data_list, 2, seed=3)
    model = make_model()
    settings = settings_for(pitc_weight=0.0, pool_file="given")
    loss_fn = PIWSLLoss(modules.WeightedEnergyForcesLoss(1.0, 1.0), settings)
    batch = batch_of(dataset[:1]).to_dict()
    with training_calls(model, loss_fn, Companions(pool=pool), moments_of(7, 7, one_step)):
        for number in range(7, 10):
            output = model(dict(batch), training=True)
            chosen = choose(7 if one_step else number, 5, 2, 3)
            expected = torch.cat([dataset[index]["positions"] for index in chosen])
            assert torch.equal(output[KEY].pool_labels["positions"], expected)


@pytest.mark.slow
def test_a_supervised_pool_in_a_run(tmp_path, files, pool):
    options = {"piwsl_pool_file": pool, "piwsl_pool_per_batch": 3, "piwsl_pool_weight": 0.5}
    one = train(tmp_path / "one", files, **options, piwsl_pitc_weight=0)
    text = log(tmp_path / "one")
    assert "pool of 5 structures, 4 with labels; 0 of them are in the training data too" in text
    assert "PIWSL: 3 of them with each batch, as of head 'Default'" in text
    assert "pool_weight=0.5" in text
    found = entries(tmp_path / "one", "piwsl")
    assert [entry["epoch"] for entry in found] == [0, 1]
    steps = [entry["loss"] for entry in entries(tmp_path / "one", "opt") if entry["epoch"] == 1]
    total = found[1]["base_loss"] + found[1]["pool_loss"]
    assert sum(steps) / len(steps) == pytest.approx(total, rel=1e-9)
    assert set(found[0]) == {"mode", "epoch", "base_loss", "pool_loss"}
    two = train(tmp_path / "two", files, num_workers=1, **options, piwsl_pitc_weight=0)
    assert_same_weights(one, two)
    without = train(tmp_path / "without", files, loss="weighted")
    for buffer in ("scale_shift.scale", "atomic_energies_fn.atomic_energies"):
        assert torch.equal(one.state_dict()[buffer], without.state_dict()[buffer]), buffer


@pytest.mark.slow
def test_without_any_weight_there_is_no_pool(tmp_path, files, pool):
    off = {"piwsl_pitc_weight": 0.0, "piwsl_pool_weight": 0.0}
    found = train(tmp_path / "off", files, piwsl_pool_file=pool, **off)
    assert_same_weights(found, train(tmp_path / "plain", files, loss="weighted"))
    assert "pool of" not in log(tmp_path / "off")


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_hdf5, write_lmdb])
def test_pools_that_are_read_structure_by_structure(write, tmp_path, files, pool):
    """The same run as with the file that was converted."""
    ase.io.write(pool, frames("ethanol_gfn2_test", 5))
    lazy = write(tmp_path, pool)
    options = {"max_num_epochs": 1, "piwsl_pool_per_batch": 2, "num_workers": 1}
    found = [
        train(tmp_path / name, files, piwsl_pool_file=path, **options)
        for name, path in (("lazy", lazy), ("memory", pool))
    ]
    assert_same_weights(*found)
    assert "pool of 5 structures, 5 with labels" in log(tmp_path / "lazy")


def test_labels_under_the_key_energy_and_none(tmp_path, files):
    """MACE 0.3.16 gives a missing label of this key weight 1, and so learns zero."""
    options = {"energy_key": "energy", "forces_key": "forces", "E0s": "average"}
    for path in files.values():
        structures = [atoms for atoms in ase.io.read(path, index=":") if len(atoms) > 1]
        for atoms in structures:
            labels = {"energy": atoms.info.pop("REF_energy")}
            labels["forces"] = atoms.arrays.pop("REF_forces", np.zeros((len(atoms), 3)))
            atoms.calc = ase.calculators.singlepoint.SinglePointCalculator(atoms, **labels)
        ase.io.write(path, structures)
    path = tmp_path / "pool.xyz"
    ase.io.write(path, [bare(atoms) for atoms in frames("ethanol_gfn2_test", 3)])
    train(tmp_path / "run", files, piwsl_pool_file=path, max_num_epochs=1, **options)
    (entry,) = entries(tmp_path / "run", "piwsl")
    assert entry["pool_loss"] == 0.0
    assert entry["pitc"] > 0.0


#: what a weight of a frame is for
PARTS = {
    "weight": ("energy", "forces"),
    "energy_weight": ("energy",),
    "forces_weight": ("forces",),
}


@pytest.mark.parametrize("weight", PARTS)
@pytest.mark.parametrize("loss", LOSSES)
def test_weights_that_mace_ignores_are_reported(loss, weight, caplog):
    """... and no others: of two structures, one has a weight."""
    structures = [atomic_data(atoms) for atoms in frames("ethanol_gfn2_train", 2)]
    gradients = []
    for value in (1.0, 0.5):
        structures[1][weight] = torch.tensor(value)
        batch = batch_of(structures)
        pred = {name: (batch[name] + 1e-3).requires_grad_() for name in ("energy", "forces")}
        pred["stress"] = batch["stress"]
        LOSSES[loss].double()(ref=batch, pred=pred).backward()
        gradients.append({name: pred[name].grad for name in ("energy", "forces")})
    before, after = gradients
    ignored = any(torch.equal(before[part], after[part]) for part in PARTS[weight])
    warn_of_weights(loss, [structures], "the pool")
    assert caplog.text.count(f"config_{weight} other than 1") == ignored
    assert len(caplog.records) == ignored


def test_labels_that_are_missing_are_no_reason_to_report_a_weight(caplog):
    structures = [atomic_data(bare(atoms)) for atoms in frames("ethanol_gfn2_train", 2)]
    structures[0]["weight"] = torch.tensor(0.5)
    warn_of_weights("huber", [structures], "the pool")
    assert not caplog.records


@pytest.mark.parametrize("write", [None, write_hdf5])
def test_a_run_says_which_weights_its_base_loss_ignores(write, tmp_path, files, pool):
    structures = frames("ethanol_gfn2_test", 3)
    structures[1].info["config_forces_weight"] = 0.3
    ase.io.write(pool, structures)
    path = pool if write is None else write(tmp_path, pool)
    options = {"piwsl_pool_file": path, "piwsl_base_loss": "huber", "max_num_epochs": 1}
    train(tmp_path / "run", files, **options)
    text = log(tmp_path / "run")
    assert "WARNING: PIWSL: structures of the pool have config_forces_weight other than 1" in text
    assert "--piwsl_base_loss=weighted" in text
    assert "structures of the training data" not in text


def test_weights_of_the_training_data_that_the_base_loss_ignores(tmp_path, files):
    """MACE 0.3.16 multiplies by them in no loss of Huber, and says nothing."""
    structures = ase.io.read(files["train_file"], index=":")
    (config_type,) = {atoms.info["config_type"] for atoms in structures if len(atoms) > 1}
    given = {"config_type_weights": str({config_type: 0.1}), "max_num_epochs": 1}
    for loss in ("universal", "weighted"):
        train(tmp_path / loss, files, piwsl_base_loss=loss, **given)
        found = "structures of the training data have config_weight" in log(tmp_path / loss)
        assert found == (loss == "universal")


@pytest.mark.parametrize("case", ["element", "shared", "no file", "empty", "bad", "scale", "atoms"])
def test_a_wrong_pool_ends_the_run_with_one_message(case, tmp_path, files, capfd):
    path = tmp_path / "pool.xyz"
    structures = frames("ethanol_gfn2_test", 3)
    if case == "element":
        structures[1].numbers[0] = 14
    elif case == "shared":
        structures[2] = bare(frames("ethanol_gfn2_valid", 2)[1])
    elif case == "bad":
        structures[1].arrays["REF_forces"][0] = np.nan
    elif case == "scale":
        for atoms in structures:
            atoms.info["REF_energy"] -= 430.0 * len(atoms)
    elif case == "atoms":
        structures = []
    ase.io.write(path, isolated_atoms("ethanol_gfn2_train") + structures)
    n_isolated = len(isolated_atoms("ethanol_gfn2_train"))
    if case == "no file":
        path = tmp_path / "none.xyz"
    elif case == "empty":
        path.write_text("")
    words = {
        "element": ["--piwsl_pool_file=", "holds Si", "H, C, O only"],
        "shared": [f"frame {n_isolated + 2} (from 0) is frame 1 (from 0) of the validation data"],
        "no file": ["--piwsl_pool_file=", "none.xyz", "no such file"],
        "empty": ["pool.xyz: the file is empty"],
        "bad": [f"pool.xyz: frame {n_isolated + 1} (from 0): 'forces' is not finite"],
        "atoms": ["--piwsl_pool_file=", "all of its 3 frames are isolated atoms"],
        "scale": ["--piwsl_pool_file=", "on average -430", "eV/atom", "piwsl weak"],
    }[case]
    with pytest.raises(SystemExit) as ended:
        train(tmp_path / "run", files, piwsl_pool_file=path)
    assert ended.value.code == 2
    message = capfd.readouterr().err.split("mace_run_train: error: ")[1]
    for word in words:
        assert word in message, message
    assert not list(tmp_path.rglob("*.pt"))


@pytest.mark.parametrize("case", ["energy", "forces alone", "E0", "no weight"])
def test_an_element_of_another_head(case, tmp_path, capfd):
    """MACE 0.3.16 takes 0 eV for an E0 that the pool's head does not have."""
    heads = {}
    for name in ("first", "second"):
        paths = write_files(tmp_path, "ethanol_gfn2", 6, 3, suffix=f"_{name}")
        structures = frames("ethanol_gfn2_train", 6)
        if name == "second":
            structures[0].numbers[2] = 7
        ase.io.write(paths["train_file"], structures)
        heads[name] = {option: str(path) for option, path in paths.items()}
        known = {1: -10.0, 6: -50.0, 8: -100.0} | ({7: -70.0} if name == "second" else {})
        heads[name]["E0s"] = str(known | ({7: -70.0} if case == "E0" else {}))
    structures = frames("ethanol_gfn2_test", 3)
    structures[1].numbers[2] = 7
    if case == "forces alone":
        del structures[1].info["REF_energy"]
    pool = tmp_path / "pool.xyz"
    ase.io.write(pool, structures)
    options = {"piwsl_pool_file": pool, "max_num_epochs": 1, "heads": heads}
    if case == "no weight":
        options["piwsl_pool_weight"] = 0
    if case != "energy":
        train(tmp_path / "run", {}, **options)
        assert "pool of 3 structures, 3 with labels" in log(tmp_path / "run")
        return
    with pytest.raises(SystemExit) as ended:
        train(tmp_path / "run", {}, **options)
    assert ended.value.code == 2
    message = capfd.readouterr().err.split("mace_run_train: error: ")[1]
    assert message.startswith(f"--piwsl_pool_file={pool}: frame 1 (from 0) has an energy, but head")
    assert "'first'" in message and "no E0 of N;" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("option", ["piwsl_pool_weight", "energy_weight"])
def test_energies_that_nobody_trains_on_may_be_of_any_scale(option, tmp_path, files, pool):
    structures = frames("ethanol_gfn2_test", 3)
    for atoms in structures:
        atoms.info["REF_energy"] -= 430.0 * len(atoms)
    ase.io.write(pool, structures)
    train(tmp_path / "run", files, piwsl_pool_file=pool, max_num_epochs=1, **{option: 0})
    assert "pool of 3 structures, 3 with labels" in log(tmp_path / "run")


def test_structures_of_the_training_data_may_be_in_the_pool(tmp_path):
    files = write_files(tmp_path, "ethanol_gfn2", 6, 4)
    path = tmp_path / "pool.xyz"
    ase.io.write(path, frames("ethanol_gfn2_train", 8)[4:])
    train(tmp_path / "run", files, piwsl_pool_file=path, max_num_epochs=1)
    assert "2 of them are in the training data too" in log(tmp_path / "run")
