"""Frames have the neighbours that displaced structures are given, or the run ends in one line."""

from __future__ import annotations

import contextlib

import ase.io
import pytest
from nequip.data import AtomicDataDict
from nequip.data.dataset import ASEDataset
from nequip.data.transforms import (
    ChemicalSpeciesToAtomTypeMapper,
    NeighborListPruneTransform,
    NeighborListTransform,
)
from nequip.model import NequIPGNNModel
from torch.utils.data import ConcatDataset

from piwsl_plugins.nequip.config import DataError
from piwsl_plugins.nequip.cutoffs import check_cutoffs

from .command_line import config
from .conftest import DATA, NEQUIP_MODEL, TYPE_NAMES
from .test_bad_data import failing
from .test_step import E_F, training

SHORT = {"H": 2.0}
#: cutoffs of hydrogens, those of the model
MODELS = {"one cutoff": {}, "by types": {"per_edge_type_cutoff": SHORT}}


def dataset(*searches, file="train.xyz"):
    return ASEDataset(file, [ChemicalSpeciesToAtomTypeMapper(TYPE_NAMES), *searches])


def made(model):
    options = {key: value for key, value in NEQUIP_MODEL.items() if key != "_target_"}
    return NequIPGNNModel(**options, **MODELS[model])


def check(dataset, model="one cutoff"):
    check_cutoffs({"train": [("train data", dataset)]}, made(model))


def pruned(cutoffs):
    return [NeighborListTransform(3.0), NeighborListPruneTransform(3.0, cutoffs, TYPE_NAMES)]


@pytest.mark.parametrize("model", MODELS)
def test_edges_within_the_cutoff_are_missing(model, ethanol):
    with pytest.raises(DataError, match=r"up to 1\.\d+ Å, where .* r_max 3 Å") as error:
        check(dataset(NeighborListTransform(2.0)), model)
    assert "NeighborListTransform r_max: 3" in str(error.value)
    with pytest.raises(DataError, match="per_edge_type_cutoff"):
        check(dataset(*pruned({"H": 1.5})), model)
    # of a part alone
    with pytest.raises(DataError):
        both = [dataset(NeighborListTransform(r_max)) for r_max in (3.0, 2.3)]
        check(ConcatDataset(both), model)


@pytest.mark.parametrize("r_max", [3.0, 3.0 - 1e-7, 4.0])
@pytest.mark.parametrize("model", MODELS)
def test_all_edges_are_there(r_max, model, ethanol):
    check(dataset(NeighborListTransform(r_max)), model)
    periodic = f"{DATA}/periodic_gfn2_valid.xyz"
    check(dataset(NeighborListTransform(r_max), file=periodic), model)
    check(dataset(), model)  # which the model looks for


def test_cutoffs_of_the_model_by_types(ethanol):
    """The model makes nothing of what the data leaves out."""
    check(dataset(*pruned(SHORT)), "by types")
    with pytest.raises(DataError, match="and no per_edge_type_cutoff"):
        check(dataset(*pruned(SHORT)))


@pytest.mark.parametrize("model", MODELS)
def test_the_model_makes_nothing_of_edges_that_are_not_counted(model, ethanol):
    searches = [[NeighborListTransform(3.0)], [NeighborListTransform(4.0)], pruned(SHORT)]
    frames = [dataset(*search)[0] for search in searches]
    assert len({frame["edge_index"].shape[1] for frame in frames}) == 3
    energies = [
        made(model)(AtomicDataDict.with_batch_(frame))["total_energy"].item() for frame in frames
    ]
    assert energies[1] == pytest.approx(energies[0], abs=1e-10)
    assert (abs(energies[2] - energies[0]) < 1e-10) == (model == "by types")


def test_a_lower_cutoff_at_which_no_frame_differs(ethanol):
    ase.io.write("pair.xyz", ase.Atoms("CO", [[0, 0, 0], [0, 0, 1.2]]))
    with pytest.raises(DataError, match=r"it has edges up to 2\.9 Å, where .* r_max 3 Å"):
        check(dataset(NeighborListTransform(2.9), file="pair.xyz"))


def test_an_edge_at_the_cutoff(ethanol):
    distance = 3.0
    ase.io.write("pair.xyz", ase.Atoms("CO", [[0, 0, 0], [0, 0, distance]]))
    check(dataset(NeighborListTransform(3.0 - 1e-9), file="pair.xyz"))
    check(dataset(NeighborListTransform(3.0 + 1e-9), file="pair.xyz"))


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_training_ends_before_its_first_step(weight, ethanol, caplog):
    """With weights of 0 there are no displaced structures, and a warning is enough."""
    module, trainer, data = training(NEQUIP_MODEL, E_F, {"pitc_weight": weight}, 2, max_steps=1)
    data.train_dataset_config[0]["transforms"][-1]["r_max"] = 2.0
    refused = pytest.raises(DataError, match="NeighborListTransform r_max: 3 and no")
    with refused if weight else contextlib.nullcontext():
        trainer.fit(module, datamodule=data)
    assert trainer.global_step == (not weight)
    assert ("neighbours that it is not trained with" in caplog.text) == (not weight)


@pytest.mark.slow
def test_the_command_line(tmp_path):
    made = config()
    made["data"]["transforms"][1]["r_max"] = 2.0
    line = failing(tmp_path, made)
    assert (
        "where the model's cutoff is r_max 3 Å" in line and "NeighborListTransform r_max: 3" in line
    )
