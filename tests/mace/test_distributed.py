"""Two CPU ranks (gloo) give the gradient of one."""

import numpy as np
import pytest
import torch
from mace import modules

from piwsl_plugins.core.curvature import CurvatureLabel, CurvatureLabels
from piwsl_plugins.core.settings import Settings
from piwsl_plugins.mace.energy_loss import EnergyLoss
from piwsl_plugins.mace.loss import PIWSLLoss
from piwsl_plugins.mace.pool import Pool
from piwsl_plugins.mace.reference import Reference
from piwsl_plugins.mace.sources import Sources

from .conftest import atomic_data, frames, loader, make_model, train_epoch
from .two_ranks import on_two_ranks

HEADS = ["pt_head", "Default"]
#: which structures carry terms; rank 0 takes the first half, rank 1 the second
CASES = {
    "equal numbers": ["Default"] * 4,
    "unequal numbers": ["Default", "Default", "pt_head", "Default"],
    "none on one rank": ["Default", "Default", "pt_head", "pt_head"],
    "none at all": ["pt_head"] * 4,
    "pool": ["Default", "Default", "pt_head", "pt_head"],
    "curvature": ["Default"] * 4,
}
#: settings of the cases that have others than ``TERMS``
SETTINGS = {
    "pool": {"pitc_target": "reference", "pisc_weight": 15.0, "unlabeled_file": "given"},
    "curvature": {"pitc_target": "curvature", "pitc_form": "symmetric", "base_loss": "energy"},
}
TERMS = {"pisc_weight": 15.0}


class KeepGradients(torch.optim.Optimizer):
    """An optimiser that takes no step."""

    def __init__(self, parameters):
        super().__init__(parameters, {})

    def zero_grad(self, set_to_none=True):
        super().zero_grad(set_to_none=False)

    def step(self, closure=None):
        return None


def structures(heads):
    atoms = frames("ethanol_gfn2_train", 3) + frames("periodic_gfn2_train", 1)
    return [atomic_data(a, HEADS, head) for a, head in zip(atoms, heads, strict=True)]


def sources(case):
    """A pool and a reference model, or labels for structures of the first rank alone."""
    if case == "pool":
        pool = [atomic_data(a, HEADS, "Default") for a in frames("ethanol_gfn2_valid", 5)]
        return Sources(pool=Pool(pool), reference=Reference(make(seed=3), "another"))
    if case == "curvature":
        labels = [
            CurvatureLabel(a.numbers, a.positions, hessian=np.eye(3 * len(a)))
            for a in frames("ethanol_gfn2_train", 2)
        ]
        return Sources(labels=CurvatureLabels(labels))
    return Sources()


def make(seed=0):
    model = make_model(
        seed=seed, heads=HEADS, atomic_energies=np.tile([-10.0, -50.0, -100.0], (2, 1))
    )
    model.scale_shift.scale = torch.ones(2)
    model.scale_shift.shift = torch.zeros(2)
    return model


def gradient(model, data, case, n_pool, distributed_model=None, rank=0):
    options = {"seed": 2, "pitc_weight": 40.0, **SETTINGS.get(case, TERMS)}
    settings = Settings(unlabeled_per_batch=n_pool, **options)
    energies = settings.base_loss == "energy"
    base = EnergyLoss() if energies else modules.WeightedEnergyForcesLoss(1.0, 10.0)
    optimizer = KeepGradients(model.parameters())
    data_loader = loader(data)
    data_loader.piwsl_sources = sources(case)
    loss_fn = PIWSLLoss(base, settings)
    train_epoch(model, loss_fn, data_loader, optimizer, 1, distributed_model, rank)
    return {
        name: value.grad.clone()
        for name, value in model.named_parameters()
        if value.grad is not None
    }


def on_rank(rank, case):
    model = make()
    wrapped = torch.nn.parallel.DistributedDataParallel(model)
    mine = structures(CASES[case])[2 * rank : 2 * rank + 2]
    return gradient(model, mine, case, 1, wrapped, rank)


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_give_the_gradient_of_one(case, tmp_path):
    expected = gradient(make(), structures(CASES[case]), case, 2)
    scale = max(float(value.abs().max()) for value in expected.values())
    for rank, found in enumerate(on_two_ranks(tmp_path, on_rank, case)):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(
                found[name], value, rtol=1e-12, atol=1e-13 * scale, msg=f"{name} on rank {rank}"
            )
