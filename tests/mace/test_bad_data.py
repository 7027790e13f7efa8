"""Data that cannot be right ends a run before training, with one message; nothing is written."""

import ase.io
import numpy as np
import pytest
import torch

from piwsl_plugins.mace.files import check_foundation_model

from .conftest import (
    R_MAX,
    assert_same_weights,
    atomic_data,
    batch_of,
    frames,
    make_model,
    train,
    write_files,
)
from .test_trainer import write_hdf5, write_lmdb

#: frames of the isolated atoms come first
FRAME = 4


def spoil(atoms, case):
    """What is wrong with it, as the message says."""
    if case == "positions":
        atoms.positions[2, 0] = np.nan
        return "the position of atom 2 is not finite"
    if case == "energy":
        atoms.info["REF_energy"] = np.inf
        return "'energy' is not finite"
    if case == "forces":
        atoms.arrays["REF_forces"][1, 1] = np.nan
        return "'forces' is not finite"
    if case == "stress":
        atoms.info["REF_stress"] = np.full(6, np.nan)
        return "'stress' is not finite"
    if case == "cell":
        atoms.set_cell([[4, 0, 0], [8, 0, 0], [0, 0, 5]])
        atoms.pbc = True
        return "it is periodic, but its cell vectors do not span a volume"
    if case == "slab":
        atoms.set_cell([8, 9, 40])
        atoms.pbc = [True, True, False]
        atoms.info["REF_stress"] = np.array([0.0, 0.01, 0.0, 0.0, 0.0, 0.0])
        return 'it has a stress, and pbc="T T F"'
    atoms.positions[3] = atoms.positions[5]
    return "atoms 3 and 5 are at the same place"


def message_of(capfd, folder, files, **options):
    with pytest.raises(SystemExit) as ended:
        train(folder, files, **options)
    assert ended.value.code == 2
    assert not [path for path in folder.rglob("*.*") if path.suffix != ".log"]
    error = capfd.readouterr().err.split("mace_run_train: error: ")[1]
    assert error.count("\n") == 1
    return error.strip()


@pytest.mark.parametrize(
    ("file", "case"),
    [
        ("train_file", "positions"),
        ("train_file", "energy"),
        ("valid_file", "forces"),
        ("test_file", "stress"),
        ("train_file", "cell"),
        ("train_file", "slab"),
        ("train_file", "same place"),
    ],
)
def test_a_bad_frame(file, case, tmp_path, files, capfd):
    paths = files | {"test_file": tmp_path / "test.xyz"}
    paths["test_file"].write_text(files["valid_file"].read_text())
    structures = ase.io.read(paths[file], index=":")
    words = spoil(structures[FRAME], case)
    ase.io.write(paths[file], structures)
    loss = "stress" if case in ("stress", "slab") else "weighted"
    message = message_of(capfd, tmp_path / "run", paths, piwsl_base_loss=loss)
    assert message.startswith(f"{paths[file]}: frame {FRAME} (from 0): {words}"), message


@pytest.mark.slow
def test_labels_that_no_loss_reads_are_left_alone(tmp_path, files):
    """... in all files, the pool's among them; of the pool without a weight also the others."""
    for path in files.values():
        structures = ase.io.read(path, index=":")
        for atoms in structures:
            atoms.info["REF_stress"] = np.full(6, np.nan)
            atoms.info["dipole"] = np.full(3, np.nan)
        ase.io.write(path, structures)
    ase.io.write(tmp_path / "pool.xyz", structures := frames("ethanol_gfn2_test", 2))
    structures[0].arrays["REF_forces"][0] = np.nan
    ase.io.write(tmp_path / "spoiled.xyz", structures)
    options = {"max_num_epochs": 1, "piwsl_pitc_weight": 0}
    plain = train(tmp_path / "plain", files, loss="weighted", max_num_epochs=1)
    assert_same_weights(train(tmp_path / "off", files, **options), plain)
    train(tmp_path / "pool", files, piwsl_pool_file=tmp_path / "pool.xyz", dry_run=True)
    spoiled = {"piwsl_pool_file": tmp_path / "spoiled.xyz", "piwsl_pool_weight": 0}
    train(tmp_path / "spoiled", files, **spoiled, dry_run=True)


def test_why_stresses_of_slabs_are_refused():
    """MACE's volume is another, and grows with the distance from the origin."""
    slab = frames("ethanol_gfn2_train", 1)[0]
    slab.positions[:, 2] += 20.0
    slab.set_cell([8.0, 9.0, 40.0])
    batches = []
    for periods in ([True, True, True], [True, True, False]):
        slab.pbc = periods
        batches.append(batch_of([atomic_data(slab)]).to_dict())
    model = make_model()
    outputs = [model(batch, compute_stress=True, compute_virials=True) for batch in batches]
    for name in ("energy", "forces", "virials"):
        torch.testing.assert_close(*(output[name] for output in outputs))
    whole, made_up = (output["stress"] for output in outputs)
    torch.testing.assert_close(whole, -outputs[0]["virials"] / (8.0 * 9.0 * 40.0))
    height = 5.0 * R_MAX * (np.abs(slab.positions).max() + 1.0)
    torch.testing.assert_close(whole, made_up * height / 40.0)
    assert height > 400.0


@pytest.mark.parametrize("case", ["pbc", "weight", "other loss", "no stress"])
def test_slabs_that_train_as_they_should(case, tmp_path, files):
    structures = ase.io.read(files["train_file"], index=":")
    spoil(structures[FRAME], "slab")
    if case == "pbc":
        structures[FRAME].pbc = True
    elif case == "weight":
        structures[FRAME].info["config_stress_weight"] = 0.0
    elif case == "no stress":
        structures[FRAME].info["REF_stress"] = np.zeros(6)
    ase.io.write(files["train_file"], structures)
    loss = "weighted" if case == "other loss" else "stress"
    train(tmp_path / "run", files, piwsl_base_loss=loss, dry_run=True)


def test_a_pool_with_a_stress_of_a_slab(tmp_path, files, capfd):
    pool = frames("ethanol_gfn2_test", 3)
    words = spoil(pool[2], "slab")
    ase.io.write(tmp_path / "pool.xyz", pool)
    options = {"piwsl_base_loss": "universal", "piwsl_pool_file": tmp_path / "pool.xyz"}
    message = message_of(capfd, tmp_path / "run", files, **options)
    assert f"pool.xyz: frame 2 (from 0): {words}" in message


def test_other_losses_read_what_mace_reads(tmp_path, files):
    structures = ase.io.read(files["train_file"], index=":")
    spoil(structures[FRAME], "energy")
    ase.io.write(files["train_file"], structures)
    train(tmp_path / "run", files, loss="weighted", max_num_epochs=1, dry_run=True)


@pytest.mark.parametrize("case", ["truncated", "words", "no labels"])
def test_an_unreadable_file(case, tmp_path, files, capfd):
    path = files["train_file"]
    text = path.read_text()
    options = {}
    if case == "truncated":
        path.write_text(text[: len(text) // 2])
    elif case == "words":
        path.write_text(text.replace("REF_energy=-", "REF_energy=about-"))
    else:
        options = {"energy_key": "none", "forces_key": "none"}
    message = message_of(capfd, tmp_path / "run", files, **options)
    assert message.startswith(f"{path}: ")


@pytest.mark.parametrize("write", [write_hdf5, write_lmdb])
def test_files_that_are_read_structure_by_structure(write, tmp_path, capfd):
    """They are looked at first of all, so that not even a log is written."""
    files = write_files(tmp_path, "ethanol_gfn2", 6, 3)
    structures = ase.io.read(files["valid_file"], index=":")
    spoil(structures[1], "forces")
    ase.io.write(files["valid_file"], structures)
    path = write(tmp_path, files["valid_file"])
    message = message_of(capfd, tmp_path / "run", files | {"valid_file": path})
    assert message.startswith(f"{path}: frame 1 (from 0): 'forces' is not finite")
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.parametrize("name", ["small", "medium-mpa-0", "large_off", "mace_omol", "polar-1-s"])
@pytest.mark.parametrize("what", ["folder", "file"])
def test_names_of_maces_own_models_are_no_paths(name, what, tmp_path, monkeypatch, capsys):
    """A run of this name may have left a folder."""
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / name, tmp_path / "mine"):
        path.mkdir() if what == "folder" else path.touch()
    check_foundation_model(name)
    with pytest.raises(SystemExit):
        check_foundation_model("mine")
    assert "--foundation_model=mine: " in capsys.readouterr().err
