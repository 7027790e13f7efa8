"""A pool in Lightning's trainer: what is refused, and what the loss sees of its labels."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
import torch
from nequip.data.datamodule import NequIPDataModule

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.labels.hessian_labels import write_labels
from piwsl_plugins.nequip.metrics import PoolError
from piwsl_plugins.terms.found import KEY
from piwsl_plugins.testing.hessians import labels_of

from ..recorded import calls_of
from .conftest import DATA, MODELS
from .reference import KEYS
from .test_step import training, written
from .test_transforms import MOVED, NAME, fit

POOL = {"pool_file": "pool.xyz", "pool_per_batch": 2, "pitc_weight": 0.0}
FLIPPED = {"_target_": f"{NAME}StressSignFlipTransform"}


def hot(**infos):
    """A pool of two frames, each with the given weight or label."""
    frames = ase.io.read(DATA / "ethanol_gfn2_hot.xyz", ":2")
    for name, values in infos.items():
        for atoms, value in zip(frames, values, strict=True):
            atoms.info[name] = value
    return written("pool.xyz", frames)


def test_weights_where_they_cannot_act(ethanol):
    huber = {"name": "f", "field": "forces", "coeff": 1.0}
    huber["metric"] = {"_target_": "nequip.train.HuberLoss"}
    hot(weight=(1.0, 1.0))
    fit({**POOL, "metrics": [huber]}, None)
    hot(weight=(1.0, 0.5))
    with pytest.raises(SettingsError, match=r"frame 1 .* weight is 0.5.*'f'.*remove 'weight'"):
        fit({**POOL, "metrics": [huber]}, None)
    fit({**POOL, "pool_weight": 0.0, "metrics": [huber], "pitc_weight": 0.1}, None)


def test_energies_of_another_scale(ethanol):
    """Refused where they are trained on, and there alone."""
    hot(REF_energy=(7.0, 7.0))
    with pytest.raises(SettingsError, match=r"lie on average .* eV/atom .*'piwsl weak'"):
        fit(POOL)
    fit({**POOL, "pool_weight": 0.0, "pitc_weight": 0.1})
    forces = {"name": "f", "field": "forces", "coeff": 1.0}
    forces["metric"] = {"_target_": "nequip.train.MeanSquaredError"}
    fit({**POOL, "metrics": [forces]}, None)


@pytest.mark.parametrize("field", ["stress", "virial"])
def test_labels_go_through_the_transforms(field, ethanol, monkeypatch):
    """The stress of the file has another sign, or is a virial; the last frame has no label."""
    boxes = ase.io.read(DATA / "periodic_gfn2_train.xyz", "3:8")
    for number, atoms in enumerate(boxes, start=1):
        atoms.info["REF_stress"] = number * np.diag([0.1, 0.2, 0.3])
    boxes[4] = ase.Atoms(boxes[4].symbols, boxes[4].positions, cell=boxes[4].cell, pbc=True)
    ase.io.write("train.xyz", boxes[:2])
    ase.io.write("pool.xyz", boxes[2:])
    calls = calls_of(monkeypatch, PoolError, "forward")
    transform = FLIPPED if field == "stress" else {"_target_": f"{NAME}VirialToStressTransform"}
    monkeypatch.setitem(KEYS, "REF_stress", field)
    coeffs = {"total_energy": 1.0, "forces": 1.0, "stress": 1.0}
    fit({**POOL, "pool_per_batch": 3}, coeffs, transforms=[transform])
    ((_, preds, target),) = calls
    for labels, frames in ((target, boxes[:2]), (preds[KEY].pool_labels, boxes[2:])):
        found = dict(zip(labels["num_atoms"].tolist(), labels["stress"]))
        for atoms in frames:
            wanted = np.asarray(atoms.info.get("REF_stress", np.full((3, 3), np.nan)))
            wanted = torch.tensor(-wanted / (1.0 if field == "stress" else atoms.get_volume()))
            torch.testing.assert_close(
                found[len(atoms)], wanted, rtol=1e-12, atol=0.0, equal_nan=True
            )


def at_most_nine_atoms(frame):
    """A transform that fails on larger frames."""
    if len(frame["pos"]) > 9:
        raise ValueError("too large")
    return frame


def test_frames_that_a_transform_fails_on(ethanol):
    boxes = ase.io.read(DATA / "periodic_gfn2_train.xyz", "3:4")
    ase.io.write("pool.xyz", [*hot(), *boxes])
    transform = {"_target_": "hydra.utils.get_method"}
    transform["path"] = f"{at_most_nine_atoms.__module__}.at_most_nine_atoms"
    with pytest.raises(SettingsError, match=r"frame 2 .*at_most_nine_atoms.*too large.*remove it"):
        fit(POOL, transforms=[transform])


def test_atoms_that_a_transform_moves(ethanol, caplog):
    """Labels belong to them where they are moved to; held-out frames are known all the same."""
    frames = hot()
    frames[1].positions += 10.0 - frames[1].positions.min(axis=0)
    write_labels("labels.npz", labels_of([ethanol[0], frames[1]]), "random numbers")
    with caplog.at_level("INFO"):
        fit({**POOL, "hessian_file": "labels.npz"}, transforms=[MOVED])
    assert "labels for 0 of 2 training structures, and for 1 of 2 of the pool" in caplog.text
    ase.io.write("pool.xyz", [frames[0], ethanol[1]])
    with pytest.raises(SettingsError, match=r"frame 1 \(from 0\) is frame 1 .* of the val data"):
        fit(POOL, transforms=[MOVED])


@pytest.mark.parametrize("flipped", [[0], [0, 1]])
def test_training_data_with_different_transforms(flipped, ethanol):
    hot()
    for atoms in ethanol:
        atoms.info["stress"] = np.eye(3)
    ase.io.write("train.xyz", ethanol)
    module, trainer, made = training(MODELS["nequip"], {"total_energy": 1.0}, POOL, 2, max_steps=1)
    (config,) = made.train_dataset_config
    both = [{**config, "transforms": list(config["transforms"])} for _ in range(2)]
    for number in flipped:
        both[number]["transforms"].insert(0, FLIPPED)
    data = NequIPDataModule(
        seed=0,
        train_dataset={"_target_": "torch.utils.data.ConcatDataset", "datasets": both},
        val_dataset=made.val_dataset_config,
        train_dataloader={"batch_size": 2},
    )
    if len(flipped) == 2:
        return trainer.fit(module, datamodule=data)
    with pytest.raises(SettingsError, match=r"'pool_file'.*give all of them the same 'transforms'"):
        trainer.fit(module, datamodule=data)
