"""What is judged follows from what is used: labels that are NaN, lack, or are not read."""

from __future__ import annotations

import re

import ase.io
import numpy as np
import pytest
import torch
import yaml
from hydra.utils import instantiate

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.nequip.config import DataError

from .command_line import config, run, train
from .conftest import DATA, MODELS
from .test_bad_data import LOSS, failing
from .test_step import E_F, training

OFF = {"pitc_weight": 0.0}
IGNORED = {"ignore_nan": {"forces": True}}
METRICS = "nequip.train.EnergyForceMetrics"


def metrics(**coeffs):
    return {"_target_": METRICS, "coeffs": {"total_energy_rmse": 1.0, **coeffs}}


@pytest.fixture
def frames(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frames = ase.io.read(DATA / "ethanol_gfn2_train.xyz", "3:7")
    ase.io.write("valid.xyz", frames)
    ase.io.write("train.xyz", frames)
    return frames


def without_forces(path, frames, *numbers):
    for number in numbers:
        frames[number].arrays["REF_forces"][:] = np.nan
    ase.io.write(path, frames)


def fit(options, val_metrics=None, batch_size=2, **limits):
    """One epoch with validation, on files in the current folder; the training module."""
    limits = {"max_epochs": 1, "limit_val_batches": 1.0, "learning_rate": 1e-4, **limits}
    module, trainer, data = training(MODELS["nequip"], E_F, options, batch_size, **limits)
    if val_metrics is not None:
        module.val_metrics = torch.nn.ModuleList([instantiate(val_metrics)])
    data.val_dataset_config[0]["file_path"] = "valid.xyz"
    trainer.fit(module, datamodule=data)
    return module


@pytest.mark.parametrize("options", [{}, OFF])
def test_a_metric_without_a_coefficient_is_not_judged(options, frames):
    """The host trains on these validation frames, and so do we; not with a coefficient."""
    without_forces("valid.xyz", frames, 1)
    fit(options, metrics(forces_rmse=None))
    words = r"val data 'valid.xyz', frame 1 .*'forces' is not finite.*val_metrics.*\(null\)"
    with pytest.raises(DataError, match=words):
        fit(options, metrics(forces_rmse=1.0))
    fit(options, metrics(forces_rmse=1.0), limit_val_batches=0)  # nothing reads them


@pytest.mark.parametrize("options", [{}, OFF])
def test_labels_that_the_loss_reads(options, frames):
    without_forces("train.xyz", frames, 2)
    words = r"frame 2 \(from 0\): 'forces' is not finite.*ignore_nan: \{forces: true\}"
    with pytest.raises(DataError, match=words):
        fit(options)
    fit({**options, **IGNORED})  # what the message says
    without_forces("train.xyz", frames, 0)
    frames[3].arrays["REF_forces"][1, 1] = np.inf
    ase.io.write("train.xyz", frames)
    with pytest.raises(DataError, match=r"frame 3 .*'forces' is not finite; remove the frame"):
        fit({**options, **IGNORED})


def test_weights_0_train_as_the_stock_loss_on_partial_labels(frames):
    without_forces("train.xyz", frames, 0, 1)
    trained = []
    for options in ({**OFF, **IGNORED}, None):
        module, trainer, data = training(
            MODELS["nequip"], E_F, options or {}, 2, max_epochs=1, learning_rate=1e-4
        )
        if options is None:
            stock = {
                "_target_": "nequip.train.EnergyForceStressLoss",
                "coeffs": {**E_F, "stress": 0.0},
                "ignore_nan": {"forces": True},
            }
            module.loss = instantiate(stock)
            del module.loss["stress_mse"], module.loss.entries["stress_mse"]  # of molecules
        trainer.fit(module, datamodule=data)
        trained.append([p.detach().clone() for p in module.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*trained, strict=True))


def test_a_batch_without_forces_hides_neither_means_nor_the_warning(frames, caplog):
    """In NequIP the loss of such a batch is nan; the base loss of the log is what it has."""
    without_forces("train.xyz", frames, 0, 1)
    with caplog.at_level("INFO"):
        fit({"pitc_weight": 1e7, **IGNORED})
    (base,) = re.findall(r"base_loss=(\S+),", caplog.text)
    assert float(base) > 0.0
    assert "base_loss=nan" not in caplog.text and "can flatten the potential" in caplog.text


@pytest.mark.parametrize("options", [{}, OFF])
def test_validation_that_measures_nothing(options, frames, caplog):
    forces = {"name": "f", "field": "forces", "coeff": 1.0, "ignore_nan": True}
    forces["metric"] = {"_target_": "nequip.train.RootMeanSquaredError"}
    alone = {"_target_": "nequip.train.MetricsManager", "metrics": [forces]}
    fit(options, alone)
    without_forces("valid.xyz", frames, 0, 1, 2, 3)
    with pytest.raises(DataError, match=r"'valid.xyz': no frame has a label.*\(forces\)"):
        fit(options, alone)
    energy = {"name": "e", "field": "total_energy", "coeff": 1.0, "metric": forces["metric"]}
    with caplog.at_level("WARNING"):
        fit(options, {**alone, "metrics": [forces, energy]})
    assert "no frame has a label forces, so that the weighted sum" in caplog.text


@pytest.mark.parametrize("split", ["train", "val"])
def test_labels_under_other_keys(split, frames):
    for atoms in frames:
        atoms.arrays["dft_forces"] = atoms.arrays.pop("REF_forces")
    ase.io.write("train.xyz" if split == "train" else "valid.xyz", frames)
    words = rf"{split} data .*there is no 'forces', which training_module.*key_mapping"
    with pytest.raises(DataError, match=words):
        fit({}, metrics(forces_rmse=None))


def test_a_pool_without_labels(frames):
    """Its base loss would be 0; without a weight on it, all is well."""
    bare = [ase.Atoms(atoms.symbols, atoms.positions) for atoms in frames]
    ase.io.write("pool.xyz", bare[:2])
    ase.io.write("valid.xyz", ase.io.read(DATA / "ethanol_gfn2_valid.xyz", ":2"))
    words = r"no frame has a label that the loss reads \(forces, total_energy\).*pool_weight: 0"
    with pytest.raises(SettingsError, match=words):
        fit({"pool_file": "pool.xyz"})
    fit({"pool_file": "pool.xyz", "pool_weight": 0.0})


@pytest.mark.slow
def test_tests_that_are_not_run_are_not_opened(tmp_path):
    """Nor is the test file of a run of tests alone overlooked."""
    made_config = config(loss=LOSS)
    made_config["data"]["test_file_path"] = "absent.xyz"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(made_config))
    arguments = ["config.yaml", "trainer.max_epochs=1"]
    done = run("nequip-train", *arguments, "run=[train]", directory=tmp_path)
    assert "TRAIN RUN END" in done.stdout
    done = run("nequip-train", *arguments, directory=tmp_path, check=False)
    assert done.returncode == 2 and "test data 'absent.xyz'" in done.stdout
    assert "PIWSL: epoch 0" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "statistics", "part"),
    [
        ("total_energy", {"per_type_energy_shifts": "per_atom_energy_mean"}, "shifts"),
        ("forces", {"per_type_energy_scales": "forces_rms"}, "scales"),
    ],
)
def test_statistics_of_labels_that_are_nan(label, statistics, part, frames, tmp_path):
    """NequIP 0.19 counts them, makes a model that is NaN, and ends with exit code 0."""
    if label == "forces":
        without_forces("train.xyz", frames, 1)
    else:
        frames[1].info["REF_energy"] = np.nan
        ase.io.write("train.xyz", frames)
    made = config(loss={**LOSS, **OFF, "ignore_nan": {label: True}})
    made["data"]["train_file_path"] = "train.xyz"
    of_statistics = {key: f"${{training_data_stats:{name}}}" for key, name in statistics.items()}
    made["training_module"]["model"] |= of_statistics
    line = failing(tmp_path, made)
    assert re.search(rf"training_module\.model: '.*{part}' is NaN .*ignore_nan: true", line)
    made["data"]["stats_manager"] = ignoring(label, *statistics.values())  # what the line says
    assert "weighted_sum" in (text := train(tmp_path, made, "-cn", "config")) and "nan" not in text


def ignoring(label, name):
    """A manager of statistics without labels that are NaN."""
    energy = label == "total_energy"
    per_atom = {"_target_": "nequip.data.PerAtomModifier", "field": label}
    of_label = {
        "name": name,
        "field": per_atom if energy else label,
        "metric": {"_target_": f"nequip.data.{'Mean' if energy else 'RootMeanSquare'}"},
        "ignore_nan": True,
    }
    neighbors = {
        "name": "num_neighbors_mean",
        "field": {"_target_": "nequip.data.NumNeighbors"},
        "metric": {"_target_": "nequip.data.Mean"},
    }
    manager = "nequip.data.DataStatisticsManager"
    return {"_target_": manager, "metrics": [neighbors, of_label]}


def test_a_model_that_is_nan(frames, monkeypatch):
    shifts = dict.fromkeys(MODELS["nequip"]["per_type_energy_shifts"], np.nan)
    monkeypatch.setitem(MODELS["nequip"], "per_type_energy_shifts", shifts)
    with pytest.raises(DataError, match=r"shifts' is NaN before the first step"):
        fit(OFF)
