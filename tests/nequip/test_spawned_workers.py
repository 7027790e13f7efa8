"""Loader workers that are spawned, on data in HDF5, as NequIP's documentation suggests."""

from __future__ import annotations

import ase.io
import pytest
import torch
from nequip.data.datamodule import NequIPDataModule

from piwsl_plugins.labels.hessian_labels import write_labels
from piwsl_plugins.testing.hessians import springs

from .conftest import DATA, MODELS
from .test_data_forms import hdf5_dataset
from .test_step import E_F, training

pytestmark = pytest.mark.slow


def test_training_does_as_without_workers(tmp_path, monkeypatch):
    """Hessian labels and the pool lie in HDF5 files as well."""
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)  # in which workers that are spawned read
    frames = ase.io.read(DATA / "ethanol_gfn2_train.xyz", "3:7")
    hot = ase.io.read(DATA / "ethanol_gfn2_hot.xyz", ":4")
    write_labels("labels.h5", list(map(springs, frames)), "springs")
    dataset, pool = hdf5_dataset("train.h5", frames), hdf5_dataset("pool.h5", hot)
    options = {"hessian_file": "labels.h5", "pool_file": pool["file_name"].split(";")[0]}
    found = []
    for workers in ({}, {"num_workers": 1, "multiprocessing_context": "spawn"}):
        module, trainer, _ = training(
            MODELS["nequip"], E_F, options, 2, max_epochs=1, learning_rate=1e-4
        )
        data = NequIPDataModule(
            seed=0,
            train_dataset=dataset,
            val_dataset=dataset,
            train_dataloader={"batch_size": 2, **workers},
        )
        trainer.fit(module, datamodule=data)
        found.append([parameter.detach() for parameter in module.parameters()])
        assert module.loss.metrics_values_step["hessian"] > 0.0
        assert module.loss.metrics_values_step["pool"] > 0.0
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
