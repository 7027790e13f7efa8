"""Data and model number the types alike, or the run ends in one line."""

from __future__ import annotations

import copy

import pytest
from nequip.data.dataset import ASEDataset
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper

from piwsl_plugins.nequip.atom_types import check_atom_types
from piwsl_plugins.nequip.config import DataError

from .conftest import NEQUIP_MODEL
from .test_cutoffs import made
from .test_step import E_F, training


def data(names, types=None):
    dataset = ASEDataset("train.xyz", [ChemicalSpeciesToAtomTypeMapper(names, types)])
    return {"train": [], "val": [("val data", dataset)], "test": []}


@pytest.mark.parametrize("names", [["H", "C", "O"], ["C", "O", "H"], ["C", "H", "O", "N"]])
def test_another_order_or_other_types(names, ethanol):
    with pytest.raises(DataError, match=r"val data.* the model's C, H, O,.*names: \[C, H, O\]"):
        check_atom_types(data(names), made("one cutoff"))


def test_the_first_of_its_types_and_other_elements_of_a_type(ethanol):
    check_atom_types(data(["C", "H"]), made("one cutoff"))
    check_atom_types(data(["C", "H", "O"], {"N": "O"}), made("one cutoff"))


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_training_ends_before_its_first_step(weight, ethanol):
    """Also of the base loss alone, as of energies_finetune.yaml."""
    module, trainer, made_data = training(
        NEQUIP_MODEL, E_F, {"pitc_weight": weight}, 2, max_steps=1
    )
    configs = made_data.train_dataset_config
    configs[0] = copy.deepcopy(configs[0])
    configs[0]["transforms"][0]["model_type_names"] = ["H", "C", "O"]
    with pytest.raises(DataError, match="it would take one element for another"):
        trainer.fit(module, datamodule=made_data)
    assert trainer.global_step == 0
