"""``--piwsl_pitc_weight=auto`` in MACE's training steps."""

import pytest
import torch
from mace import modules

from piwsl_plugins.core.settings import Settings
from piwsl_plugins.mace.energy_loss import EnergyLoss
from piwsl_plugins.mace.loss import PIWSLLoss

from .conftest import atomic_data, loader, make_model, train, train_epoch
from .test_distributed import CASES, KeepGradients, make, structures
from .test_trainer import entries, log
from .test_training_step import mixed_structures, step
from .two_ranks import on_two_ranks

AUTO = {"piwsl_pitc_weight": "auto"}


def norm(gradients):
    return sum(float(value.square().sum()) for value in gradients.values()) ** 0.5


@pytest.mark.parametrize(
    ("base", "options"),
    [
        (modules.WeightedEnergyForcesLoss(3.0, 10.0), {"pitc_form": "first_order"}),
        (EnergyLoss(3.0), {"pitc_form": "symmetric"}),
        (modules.WeightedEnergyForcesLoss(3.0, 10.0), {"pisc_weight": 4.0, "metric": "mae"}),
    ],
    ids=["first order", "symmetric", "with pisc"],
)
def test_the_gradient_of_the_term_is_the_set_fraction_of_the_supervised_one(base, options):
    data = [atomic_data(atoms) for atoms in mixed_structures()]
    model = make_model()
    pisc = {"pisc_weight": options.get("pisc_weight", 0.0)}
    others = options | pisc
    _, _, supervised = step(model, data, Settings(seed=2, pitc_weight=0.0), base=base)
    _, _, without = step(
        model, data, Settings(seed=2, **(others | {"pitc_weight": 0.0})), base=base
    )
    _, _, with_term = step(
        model,
        data,
        Settings(seed=2, **(others | {"pitc_weight": "auto", "auto_gradient_ratio": 0.3})),
        base=base,
    )
    term = {name: with_term[name] - without[name] for name in with_term}
    assert norm(term) / norm(supervised) == pytest.approx(0.3, rel=1e-8)


def test_it_is_found_at_every_interval_and_at_the_beginning_and_runs_repeat(tmp_path, files):
    """Three steps an epoch: found at steps 0, 4 and 8, of epochs 0, 1 and 2; lowered before 4."""
    models = []
    for name in ("first", "again"):
        options = {"piwsl_auto_interval": 4, "max_num_epochs": 4, **AUTO}
        models.append(train(tmp_path / name, files, **options))
    weights = [entry["pitc_weight"] for entry in entries(tmp_path / "first", "piwsl")]
    assert weights == [entry["pitc_weight"] for entry in entries(tmp_path / "again", "piwsl")]
    assert len(set(weights)) == 3
    assert weights[2] == weights[3]
    text = log(tmp_path / "first")
    found = [
        line.split("PIWSL: step ")[1].split(":")[0]
        for line in text.splitlines()
        if "PIWSL: step " in line
    ]
    assert {"0", "4", "8"} <= set(found) <= {"0", "1", "2", "4", "8"}
    for number, weight in zip((found[-3], "4", "8"), weights):
        assert f"PIWSL: step {number}: pitc_weight={weight:.4e}" in text
    assert "can flatten" not in text
    first, again = (dict(model.named_parameters()) for model in models)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_stage_two_and_lbfgs_keep_the_weight_within_the_interval(tmp_path, files):
    """Three steps an epoch: stage two begins at step 6, within the first interval."""
    train(tmp_path / "swa", files, max_num_epochs=3, swa=True, start_swa=2, **AUTO)
    assert "PIWSL: step 6:" not in log(tmp_path / "swa")
    weights = [entry["pitc_weight"] for entry in entries(tmp_path / "swa", "piwsl")]
    assert weights == sorted(weights, reverse=True) and weights[-1] > 0
    options = {"lbfgs": True, "piwsl_auto_interval": 1, "batch_size": 12, **AUTO}
    train(tmp_path / "lbfgs", files, max_num_epochs=2, **options)
    assert log(tmp_path / "lbfgs").count("PIWSL: step ") == 2


def weight_of_one_epoch(model, data, distributed_model=None, rank=0):
    settings = Settings(seed=2, pitc_weight="auto", pisc_weight=15.0)
    loss_fn = PIWSLLoss(modules.WeightedEnergyForcesLoss(1.0, 10.0), settings)
    optimizer = KeepGradients(model.parameters())
    train_epoch(model, loss_fn, loader(data), optimizer, 1, distributed_model, rank)
    return loss_fn.auto.weight


def on_rank(rank, case):
    model = make()
    wrapped = torch.nn.parallel.DistributedDataParallel(model)
    mine = structures(CASES[case])[2 * rank : 2 * rank + 2]
    return weight_of_one_epoch(model, mine, wrapped, rank)


@pytest.mark.parametrize("case", ["unequal numbers", "none on one rank"])
def test_two_ranks_find_the_weight_of_one(case, tmp_path):
    expected = weight_of_one_epoch(make(), structures(CASES[case]))
    first, second = on_two_ranks(tmp_path, on_rank, case)
    assert first == second == pytest.approx(expected, rel=1e-10)


def test_a_batch_without_structures_for_the_term_leaves_it_to_the_next():
    model, data = make(), structures(["pt_head", "pt_head", "Default", "Default"])
    settings = Settings(seed=2, pitc_weight="auto")
    loss_fn = PIWSLLoss(modules.WeightedEnergyForcesLoss(1.0, 10.0), settings)
    optimizer = KeepGradients(model.parameters())
    train_epoch(model, loss_fn, loader(data[:2]), optimizer, 0)
    assert loss_fn.auto.weight == 0.0
    train_epoch(model, loss_fn, loader(data[2:]), optimizer, 1)
    assert loss_fn.auto.weight > 0.0
