"""Data of several levels of theory: the run asks whose the Hessians are, and others carry none."""

from __future__ import annotations

import copy

import ase.io
import pytest
import torch
from nequip.data import register_fields
from nequip.data.datamodule import NequIPDataModule

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.labels.hessian_labels import write_labels
from piwsl_plugins.nequip.host import Describe
from piwsl_plugins.terms.pool import Pool
from piwsl_plugins.testing.hessians import labels_of

from .conftest import DATA, MODELS, TYPE_NAMES
from .reference import KEYS, as_batch
from .test_step import E_F, training

T = "nequip.data.transforms."
INDEX = {"_target_": f"{T}DatasetIndexTransform"}
HESSIAN = {"hessian_file": "labels.npz", "hessian_weight": 0.5, "pitc_weight": 2e3}


class HeadStamper(torch.nn.Module):
    """As packages of models with several heads have it."""

    def __init__(self, head_index):
        super().__init__()
        register_fields(graph_fields=["head"], long_fields=["head"])
        self.head_index = head_index

    def forward(self, data):
        data["head"] = torch.tensor([[self.head_index]])
        return data


def dataset(path, *marks):
    mapper = {"_target_": f"{T}ChemicalSpeciesToAtomTypeMapper", "model_type_names": TYPE_NAMES}
    search = {"_target_": f"{T}NeighborListTransform", "r_max": 3.0}
    return {
        "_target_": "nequip.data.dataset.ASEDataset",
        "file_path": path,
        "transforms": [mapper, search, *marks],
        "key_mapping": KEYS,
    }


def two_levels(first, second):
    """The same frames by two methods, each with its mark, for training and validation."""
    datasets = [dataset("one.xyz", first), dataset("two.xyz", second)]
    both = {"_target_": "torch.utils.data.ConcatDataset", "datasets": datasets}
    return NequIPDataModule(
        seed=0,
        train_dataset=copy.deepcopy(both),
        val_dataset=copy.deepcopy(both),
        train_dataloader={"batch_size": 4},
    )


def indexed():
    return two_levels({**INDEX, "dataset_index": 0}, {**INDEX, "dataset_index": 1})


def stamped():
    stamper = {"_target_": f"{HeadStamper.__module__}.HeadStamper"}
    return two_levels({**stamper, "head_index": 1}, {**stamper, "head_index": 3})


def fit(data, **options):
    """One step; the training module."""
    module, trainer, _ = training(MODELS["nequip"], E_F, options, 4, max_steps=1)
    trainer.fit(module, datamodule=data)
    return module


@pytest.fixture
def methods(tmp_path, monkeypatch):
    """Two frames in "one.xyz", with other labels in "two.xyz", and Hessians of the first method."""
    monkeypatch.chdir(tmp_path)
    frames = ase.io.read(DATA / "ethanol_gfn2_train.xyz", "3:5")
    ase.io.write("one.xyz", frames)
    write_labels("labels.npz", labels_of(frames), "random numbers")
    for atoms in frames:
        atoms.info["REF_energy"] += 0.7
    ase.io.write("two.xyz", frames)
    return frames


@pytest.mark.parametrize("option", ["hessian_file", "hessian_valid_file"])
@pytest.mark.parametrize(
    ("data", "words"), [(indexed, r"dataset 0, 1.*\{dataset: \[0\]\}"), (stamped, "head 1, 3")]
)
def test_the_run_asks_whose_the_labels_are(option, data, words, methods):
    with pytest.raises(SettingsError, match=words) as caught:
        fit(data(), **{option: "labels.npz"})
    assert caught.value.name == option
    fit(data(), hessian_file="labels.npz", hessian_weight=0.0, pitc_weight=0.1)  # not used


def test_only_the_level_named_carries_terms(methods, caplog):
    """Their values are those of a batch of this level alone."""
    with caplog.at_level("INFO"):
        of_both = fit(indexed(), **HESSIAN, levels={"dataset": [1]})
    found = "Hessian labels for 2 of 2 training structures; all 2 labels are used"
    assert found in caplog.text
    module, trainer, data = training(MODELS["nequip"], E_F, HESSIAN, 2, max_steps=1)
    data.train_dataset_config = data.val_dataset_config = [dataset("two.xyz")]
    trainer.fit(module, datamodule=data)
    for term in ("hessian", "pitc"):
        alone = module.loss.metrics_values_step[term]
        assert of_both.loss.metrics_values_step[term] == pytest.approx(alone, rel=1e-12) != 0


def test_the_log_names_labels_of_another_level(methods, caplog):
    """A geometry that only the other method has."""
    ase.io.write("one.xyz", methods[:1])
    with caplog.at_level("INFO"):
        fit(indexed(), **HESSIAN, levels={"dataset": 0})
    assert (
        "Hessian labels for 1 of 1 training structures; 1 of 2 labels are used, 1 belong to none "
        "of them; 1 label has the geometry of a training frame, and another level of theory "
        "(dataset 1)" in caplog.text
    )


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ({"dataset": [4]}, "no frame of the training data is of them; there are dataset 0, 1"),
        ({"method": [0]}, "no field 'method'; fields that say whose labels it has: dataset"),
    ],
)
def test_levels_that_no_frame_has(levels, words, methods):
    with pytest.raises(SettingsError, match=words) as caught:
        fit(indexed(), pitc_weight=0.1, levels=levels)
    assert caught.value.name == "levels"


def test_a_pool_is_of_the_level_named(methods, monkeypatch):
    """It goes through the transforms of this level, so that the model is told whose it is."""
    ase.io.write("pool.xyz", ase.io.read(DATA / "ethanol_gfn2_hot.xyz", ":2"))
    options = {"pool_file": "pool.xyz", "pool_per_batch": 2}
    with pytest.raises(SettingsError, match=r"different data transforms.*or say with levels"):
        fit(indexed(), **options)
    batches = []
    batch = Pool.batch

    def recorded(pool, number):
        batches.append(batch(pool, number))
        return batches[-1]

    monkeypatch.setattr(Pool, "batch", recorded)
    fit(indexed(), **options, levels={"dataset": [1]})
    assert batches[0]["dataset"].tolist() == [[1], [1]]


def test_structures_of_a_batch(mixed_frames):
    batch = as_batch(mixed_frames[:3], TYPE_NAMES, 3.0)
    batch["dataset"] = torch.tensor([[2], [0], [5]])
    described = Describe(TYPE_NAMES, {"dataset": [0, 5]})(batch)
    assert described.carry.tolist() == [False, True, True]
    assert Describe(TYPE_NAMES)(batch).carry.all()
