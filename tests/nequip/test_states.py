"""Labels and pools belong to structures with their charge, spin and cell, not to geometries."""

from __future__ import annotations

import dataclasses

import ase.io
import numpy as np
import pytest
import torch
from nequip.data import AtomicDataDict

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.labels.hessian_labels import write_labels
from piwsl_plugins.nequip.config import DataError
from piwsl_plugins.nequip.host import Describe
from piwsl_plugins.testing.hessians import labels_of

from .conftest import DATA, MODELS, TYPE_NAMES
from .reference import KEYS, as_data
from .test_step import E_F, training

HESSIAN = {"hessian_file": "labels.npz"}
STATE = {"total_charge": "charge", "total_spin": "spin"}


def fit(options, include=(), mapping=None):
    module, trainer, data = training(MODELS["nequip"], E_F, options, 4, max_steps=1)
    for config in (*data.train_dataset_config, *data.val_dataset_config):
        config["include_keys"] = list(include)
        config["key_mapping"] = {**KEYS, **(mapping or {})}
    data.val_dataset_config[0]["file_path"] = "valid.xyz"
    trainer.fit(module, datamodule=data)


def ions(frames, names=("charge", "spin")):
    made = [atoms.copy() for atoms in frames]
    for atoms in made:
        atoms.info.update(zip(names, (1, 2), strict=True))
    return made


def neutral(frames, names=("charge", "spin")):
    made = [atoms.copy() for atoms in frames]
    for atoms in made:
        atoms.info.update(zip(names, (0, 1), strict=True))
    return made


@pytest.fixture
def frames(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return ase.io.read(DATA / "ethanol_gfn2_train.xyz", "3:5")


@pytest.mark.parametrize(
    ("names", "reading"),
    [
        (("charge", "spin"), {"include": ["charge", "spin"]}),
        (("total_charge", "total_spin"), {"mapping": STATE}),
    ],
)
def test_neutral_molecules_and_cations(names, reading, frames, caplog):
    """Two geometries, each in both states: the Hessians of the neutral ones are theirs alone."""
    both = [*neutral(frames, names), *ions(frames, names)]
    ase.io.write("train.xyz", both)
    ase.io.write("valid.xyz", neutral(frames, names))
    write_labels("labels.npz", labels_of(frames), "random numbers")
    with caplog.at_level("INFO"):
        fit(HESSIAN, **reading)
    found = "Hessian labels for 2 of 4 training structures; all 2 labels are used"
    assert found in caplog.text
    ase.io.write("train.xyz", ions(frames, names))
    words = r"2 labels have the geometry of a training frame, and another charge \(0, and 1\)"
    with pytest.raises(SettingsError, match=words):
        fit(HESSIAN, **reading)
    # a pool of cations at the geometries of neutral validation frames is no held-out data
    ase.io.write("train.xyz", both)
    ase.io.write("pool.xyz", ions(frames, names))
    fit({"pool_file": "pool.xyz"}, **reading)
    ase.io.write("pool.xyz", neutral(frames, names))
    with pytest.raises(SettingsError, match=r"frame 0 .* of the val data 'valid.xyz'"):
        fit({"pool_file": "pool.xyz"}, **reading)


def test_data_without_charges_and_labels_of_ions(frames):
    """NequIP's data does not read charges by itself; the message says how it does."""
    ase.io.write("train.xyz", ions(frames))
    ase.io.write("valid.xyz", frames)
    labels = [dataclasses.replace(one, charge=1.0) for one in labels_of(frames)]
    write_labels("labels.npz", labels, "random numbers")
    words = r"train.xyz, frame 0 \(from 0\) has .*charge=1.*does not read.*include_keys: \[charge"
    with pytest.raises(DataError, match=words):
        fit(HESSIAN)
    fit(HESSIAN, include=["charge"])


@pytest.mark.parametrize("content", ["ions", "nothing"])
def test_a_run_without_tests_leaves_their_files_alone(content, frames):
    """Ions that the data does not read, or no file at all: nobody opens it."""
    ase.io.write("train.xyz", frames)
    ase.io.write("valid.xyz", frames)
    write_labels("labels.npz", labels_of(frames), "random numbers")
    if content == "ions":
        ase.io.write("test.xyz", ions(frames))

    def start(runs):
        module, trainer, data = training(MODELS["nequip"], E_F, HESSIAN, 4, max_steps=1)
        for config in (*data.train_dataset_config, *data.val_dataset_config):
            config["key_mapping"] = KEYS
        data.val_dataset_config[0]["file_path"] = "valid.xyz"
        test = {**data.val_dataset_config[0], "file_path": "test.xyz"}
        data.test_dataset_config = [test]
        module.hparams["info_dict"] = {"runs": runs}  # as nequip-train says it
        trainer.fit(module, datamodule=data)
        return trainer.global_step

    assert start(["train"]) == 1
    with pytest.raises(DataError, match=r"test\.xyz"):
        start(["train", "test"])


def test_neutral_labels_and_ions_that_the_data_does_not_read(frames):
    ase.io.write("train.xyz", [*frames, *ions(frames)])
    ase.io.write("valid.xyz", frames)
    write_labels("labels.npz", labels_of(frames), "random numbers")
    with pytest.raises(DataError, match=r"frame 2 \(from 0\) has .*does not read"):
        fit(HESSIAN)
    fit({})  # without labels and pool nobody asks


def boxes():
    return [a for a in ase.io.read(DATA / "periodic_gfn2_train.xyz", "3:7") if len(a) == 24][:1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("cell", r"another cell \(by up to 0\.5"),
        ("pbc", r"other periodic directions \(a b c, and a b\)"),
        ("lattice vector", None),
    ],
)
def test_cells(change, words, frames):
    (box,) = boxes()
    label = labels_of([box])
    write_labels("labels.npz", label, "random numbers")
    if change == "cell":
        box.cell[2, 2] += 0.5
    elif change == "pbc":
        box.pbc = [True, True, False]
    else:
        box.positions[3] += np.array([1, -2, 0]) @ box.cell
    ase.io.write("train.xyz", [box])
    ase.io.write("valid.xyz", [box])
    if words is None:
        return fit(HESSIAN)
    with pytest.raises(SettingsError, match=words):
        fit(HESSIAN)


def test_charges_and_spins_of_a_batch(frames):
    """The data's, and where it has none, neutral structures of no known spin."""
    both = [*neutral(frames[:1]), *ions(frames[1:])]
    data = [as_data(atoms, TYPE_NAMES) for atoms in both]
    for one, atoms in zip(data, both, strict=True):
        one.update({key: torch.tensor([[atoms.info[key]]]) for key in ("charge", "spin")})
    batch = AtomicDataDict.batched_from_list(data)
    described = Describe(TYPE_NAMES)(batch)
    assert described.charges.tolist() == [0.0, 1.0] and described.spins.tolist() == [1.0, 2.0]
    assert described.structure(1).charge == 1.0
    without = {key: value for key, value in batch.items() if key not in ("charge", "spin")}
    described = Describe(TYPE_NAMES)(without)
    assert described.charges.tolist() == [0.0, 0.0] and np.isnan(described.spins).all()
