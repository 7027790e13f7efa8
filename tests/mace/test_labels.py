"""The labels that MACE's losses read, and those that a structure has."""

from argparse import Namespace

import numpy as np
import pytest
import torch
from mace import data, modules

from piwsl_plugins.mace.arguments import MaceSettings
from piwsl_plugins.mace.labels import labels_of, read_by, weighed
from piwsl_plugins.mace.loss import EnergyLoss

from .conftest import atomic_data, batch_of, frames

NAMES = ("energy", "forces", "stress", "virials", "dipole")
LOSSES = {
    "energy": EnergyLoss(0.0),
    "weighted": modules.WeightedEnergyForcesLoss(0.0, 0.0),
    "l1l2energyforces": modules.WeightedEnergyForcesL1L2Loss(0.0, 0.0),
    "virials": modules.WeightedEnergyForcesVirialsLoss(0.0, 0.0, 0.0),
    "stress": modules.WeightedEnergyForcesStressLoss(0.0, 0.0, 0.0),
    "huber": modules.WeightedHuberEnergyForcesStressLoss(0.0, 0.0, 0.0),
    "universal": modules.UniversalLoss(0.0, 0.0, 0.0),
    "energy_forces_dipole": modules.WeightedEnergyForcesDipoleLoss(0.0, 0.0, 0.0),
}


def arguments(**given):
    run = {"foundation_model": None, "multiheads_finetuning": True, "pt_train_file": None}
    return Namespace(**run | given)


def test_all_base_losses_are_here():
    assert LOSSES.keys() == MaceSettings.options()["base_loss"].choices.keys()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_reads_what_spoils_it_if_it_is_not_finite(loss):
    """... with any weight, also 0."""
    for name in NAMES:
        batch = batch_of([atomic_data(atoms) for atoms in frames("ethanol_gfn2_train", 2)])
        pred = {one: batch[one].clone() for one in NAMES}
        batch[name][0] = torch.nan
        spoiled = torch.isnan(LOSSES[loss].double()(ref=batch, pred=pred)).item()
        assert spoiled == (name in read_by(arguments(), loss)), name


@pytest.mark.parametrize(
    ("given", "replayed"),
    [
        ({}, False),
        ({"foundation_model": "mine.model"}, False),
        ({"foundation_model": "mine.model", "pt_train_file": "old.xyz"}, True),
        ({"foundation_model": "small"}, True),
        ({"foundation_model": "small", "multiheads_finetuning": False}, False),
    ],
)
def test_replay_is_with_the_universal_loss(given, replayed):
    assert ("stress" in read_by(arguments(**given), "weighted")) == replayed


def test_weights_of_both_stages_count():
    args = arguments(
        loss="stress",
        **{"energy_weight": 0.0, "forces_weight": 10.0, "stress_weight": 1.0},
        **{"swa_energy_weight": 1.0, "swa_forces_weight": 0.0, "swa_stress_weight": 0.0},
    )
    assert weighed(args) == {"forces", "stress"}
    assert weighed(args, stage_two=True) == {"energy"}


@pytest.mark.parametrize(
    ("info", "has"),
    [
        ({}, {"energy", "forces"}),
        ({"config_energy_weight": 0.0}, {"forces"}),
        ({"config_weight": 0.0}, set()),
        ({"REF_energy": None, "dipole": np.ones(3)}, {"forces", "dipole"}),
        (
            {"dipole": np.ones(3), "config_dipole_weight": np.array([0, 1, 0])},
            {*NAMES[:2], "dipole"},
        ),
        ({"dipole": np.ones(3), "config_dipole_weight": np.zeros(3)}, {"energy", "forces"}),
    ],
)
def test_a_label_is_there_if_it_has_a_weight(info, has):
    (atoms,) = frames("ethanol_gfn2_train", 1)
    atoms.info |= info
    keys = data.KeySpecification.from_defaults()
    assert labels_of(data.config_from_atoms(atoms, key_specification=keys), NAMES) == has
