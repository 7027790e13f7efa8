"""Two CPU ranks (gloo) give the gradient of one, and MACE's own ``--distributed`` runs on them."""

import os
from unittest import mock

import ase.io
import numpy as np
import pytest
import torch
from mace import modules
from mace.tools.torch_geometric.batch import Batch

from piwsl_plugins.labels.hessian_labels import write_labels
from piwsl_plugins.labels.hessian_lookup import HessianLabels
from piwsl_plugins.mace.arguments import MaceSettings
from piwsl_plugins.mace.companions import Companions, keep
from piwsl_plugins.mace.loss import EnergyLoss, PIWSLLoss
from piwsl_plugins.terms.pool import Pool
from piwsl_plugins.testing.hessians import labels_of

from .conftest import atomic_data, frames, loader, make_model, train, train_epoch
from .test_trainer import entries
from .two_ranks import on_two_ranks

HEADS = ["pt_head", "Default"]
#: which structures carry terms; rank 0 takes the first half, rank 1 the second
CASES = {
    "equal numbers": ["Default"] * 4,
    "unequal numbers": ["Default", "Default", "pt_head", "Default"],
    "none on one rank": ["Default", "Default", "pt_head", "pt_head"],
    "none at all": ["pt_head"] * 4,
    "adversarial": ["Default", "Default", "pt_head", "pt_head"],
    "pool": ["Default", "Default", "pt_head", "pt_head"],
    "hessian": ["Default"] * 4,
    "hessian and pool": ["Default", "Default", "pt_head", "Default"],
}
HESSIAN = {"hessian_file": "given", "hessian_weight": 5.0}
#: settings of the cases that have others than ``TERMS``
SETTINGS = {
    "adversarial": {"pisc_weight": 15.0, "displacement": "adversarial"},
    "pool": {"pisc_weight": 15.0, "pool_file": "given"},
    "hessian": {"hessian_form": "energies", "base_loss": "energy", **HESSIAN},
    "hessian and pool": {"pool_file": "given", "pool_weight": 0.5, **HESSIAN},
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


def companions(case, n_pool, rank, n_ranks):
    """A pool of which some structures have no labels; Hessians for the first rank alone."""
    pool = labels = None
    if "pool" in case:
        atoms = frames("ethanol_gfn2_valid", 3) + frames("periodic_gfn2_valid", 2)
        del atoms[1].arrays["REF_forces"], atoms[2].info["REF_energy"]
        dataset = [atomic_data(a, HEADS, "Default") for a in atoms]
        pool = Pool(dataset, Batch.from_data_list, n_pool, 2, rank, n_ranks)
    if "hessian" in case:
        labels = HessianLabels(labels_of(frames("ethanol_gfn2_train", 2)))
    return Companions(labels, pool)


def make(seed=0):
    model = make_model(
        seed=seed, heads=HEADS, atomic_energies=np.tile([-10.0, -50.0, -100.0], (2, 1))
    )
    model.scale_shift.scale = torch.ones(2)
    model.scale_shift.shift = torch.zeros(2)
    return model


def gradient(model, data, case, n_ranks=1, distributed_model=None, rank=0):
    options = {"seed": 2, "pitc_weight": 40.0, **SETTINGS.get(case, TERMS)}
    settings = MaceSettings.create(options)
    energies = settings.mace.base_loss == "energy"
    base = EnergyLoss() if energies else modules.WeightedEnergyForcesLoss(1.0, 10.0)
    optimizer = KeepGradients(model.parameters())
    data_loader = loader(data)
    keep(data_loader, companions(case, 2 // n_ranks, rank, n_ranks))
    loss_fn = PIWSLLoss(base, settings.decided(not energies, 10.0))
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
    return gradient(model, mine, case, 2, wrapped, rank)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_ranks_give_the_gradient_of_one(case, tmp_path):
    expected = gradient(make(), structures(CASES[case]), case)
    scale = max(float(value.abs().max()) for value in expected.values())
    for rank, found in enumerate(on_two_ranks(tmp_path, on_rank, case)):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(
                found[name], value, rtol=1e-12, atol=1e-13 * scale, msg=f"{name} on rank {rank}"
            )


def distributed_run(rank, folder, options):
    """``mace_run_train --distributed`` as torchrun starts it, but on a CPU.

    MACE 0.3.16 (``cli/run_train.py``) makes no process group for a CPU, so that ours is there
    before, and names a GPU for each rank.
    """
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    on_cpu = torch.nn.parallel.DistributedDataParallel
    with (
        mock.patch("mace.cli.run_train.DDP", lambda model, device_ids: on_cpu(model)),
        mock.patch("torch.distributed.destroy_process_group"),
    ):
        model = train(folder, {}, distributed=True, launcher="torchrun", **options)
    return None if model is None else dict(model.named_parameters())


def test_maces_own_launcher(tmp_path, files):
    """One step per epoch over all frames: two ranks end where one does, and report the same."""
    labels = labels_of(frames("ethanol_gfn2_train", 3))  # the ranks have unequal numbers
    write_labels(tmp_path / "labels.npz", labels, "random numbers")
    pool = frames("ethanol_gfn2_hot", 6)
    del pool[1].arrays["REF_forces"]
    ase.io.write(tmp_path / "pool.xyz", pool)
    options = {
        **files,
        # MACE 0.3.16 takes these from the rank's own part of the data
        "scaling": "no_scaling",
        "compute_avg_num_neighbors": False,
        "avg_num_neighbors": 8.0,
        "max_num_epochs": 3,
        "piwsl_pitc_weight": 30.0,
        "piwsl_hessian_file": tmp_path / "labels.npz",
        "piwsl_hessian_weight": 0.1,
        "piwsl_pool_file": tmp_path / "pool.xyz",
    }
    one = train(tmp_path / "one", {}, **options, batch_size=12, piwsl_pool_per_batch=4)
    both = {**options, "batch_size": 6, "valid_batch_size": 3, "piwsl_pool_per_batch": 2}
    first, _ = on_two_ranks(tmp_path, distributed_run, tmp_path / "two", both)
    for name, value in one.named_parameters():
        torch.testing.assert_close(first[name], value, rtol=1e-6, atol=1e-9)
    wanted, found = (entries(tmp_path / name, "piwsl") for name in ("one", "two"))
    assert len(found) == len(wanted) == 3
    for line, expected in zip(found, wanted):
        assert line.keys() == expected.keys()
        assert line.pop("mode") == expected.pop("mode") == "piwsl"
        assert line == pytest.approx(expected, rel=1e-6)
