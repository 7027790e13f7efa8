"""Coefficients, schedule and errors of the loss, and when it is evaluated at all."""

from __future__ import annotations

import copy
import importlib.metadata
import shutil
from types import SimpleNamespace

import pytest
import torch
from nequip.model import NequIPGNNModel
from nequip.train import (
    EnergyForceLoss,
    EnergyForceStressLoss,
    EnergyOnlyLoss,
    HuberLoss,
    MeanAbsoluteError,
    MeanSquaredError,
    RootMeanSquaredError,
    StratifiedHuberForceLoss,
)

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.nequip import PIWSLLoss, structures
from piwsl_plugins.nequip.epoch_log import training_log
from piwsl_plugins.nequip.host import NequIPHost
from piwsl_plugins.nequip.training import PIWSLCallback, TrainingCalls
from piwsl_plugins.terms.found import KEY, Found
from piwsl_plugins.terms.training import Moment, Training

from . import reference
from .conftest import NEQUIP_MODEL, TYPE_NAMES


@pytest.fixture
def model():
    config = copy.deepcopy(NEQUIP_MODEL)
    config.pop("_target_")
    return NequIPGNNModel(**config)


@pytest.fixture
def batch(mixed_frames):
    return reference.as_batch(mixed_frames[:3], TYPE_NAMES, 3.0)


@pytest.fixture
def attached(model):
    """``attached(loss, moment)`` puts the hooks on the model, as the callback does."""
    made = []

    def attach(loss, moment=lambda: Moment(0, 0, 0)):
        log = training_log(loss)
        training = Training(loss.settings, seed=0, weights=loss.weights, log=log)
        loss.begin(training)
        made.append(TrainingCalls(NequIPHost(model), training, moment, loss.base_uses_forces))
        return made[-1]

    yield attach
    for calls in made:
        calls.remove()


def coeffs_of(loss):
    return {name: entry.coeff for name, entry in loss.entries.items()}


def test_weights_are_relative_to_the_coefficients_as_given():
    loss = PIWSLLoss(coeffs={"total_energy": 1, "forces": 3}, pitc_weight=0.4, pisc_weight=0.04)
    assert coeffs_of(loss) == pytest.approx(
        {"per_atom_energy_mse": 0.25, "forces_mse": 0.75, "pitc": 0.1, "pisc": 0.01}
    )


@pytest.mark.parametrize(
    ("coeffs", "stock"),
    [
        ({"total_energy": 2.0, "forces": 1.0}, EnergyForceLoss),
        ({"total_energy": 2.0, "forces": 1.0, "stress": 5.0}, EnergyForceStressLoss),
        ({"total_energy": 1.0}, lambda coeffs: EnergyOnlyLoss()),
    ],
)
def test_supervised_part_is_the_stock_loss(coeffs, stock, model, batch):
    batch["stress"] = torch.randn(3, 3, 3)
    batch["cell"] = torch.eye(3).expand(3, 3, 3) * 20.0
    model.eval()
    output = model(batch.copy())
    ours = PIWSLLoss(coeffs=coeffs, pitc_weight=0.0)
    expected = stock(coeffs)
    assert coeffs_of(ours) == coeffs_of(expected)
    found = ours(output, batch)
    for name, value in expected(output, batch).items():
        assert torch.equal(found[name], value), name
    assert "pitc" not in found


def test_other_supervised_losses():
    entries = [
        {"name": "energy_huber", "field": "total_energy", "coeff": 4.0, "metric": HuberLoss()},
        {"name": "forces_huber", "field": "forces", "coeff": 1.0, "metric": HuberLoss()},
    ]
    loss = PIWSLLoss(metrics=entries, pitc_weight=1.0)
    assert coeffs_of(loss) == {"energy_huber": 0.8, "forces_huber": 0.2, "pitc": 0.2}


def test_per_type_forces():
    loss = PIWSLLoss(per_type_forces_coeffs={"C": 1.0, "H": 2.0, "O": 3.0}, type_names=TYPE_NAMES)
    assert loss.entries["forces_mse"].per_type_coeffs == [1.0, 2.0, 3.0]


def test_schedule_factor_scales_the_terms_only(model, batch, attached):
    loss = PIWSLLoss(pitc_weight=5.0, ramp_epochs=3, interval=2)
    factor, step = 0.25, 0
    attached(loss, lambda: Moment(0, step, step))
    values = loss(model(batch.copy()), batch)
    expected = 0.5 * values["per_atom_energy_mse"] + 0.5 * values["forces_mse"]
    assert torch.equal(values["weighted_sum"], expected + values["pitc"] * (2.5 * factor))
    assert values["pitc"] > 0
    # an epoch's mean weighs the terms with the mean factor
    step = 1
    without = loss(model(batch.copy()), batch)
    assert torch.equal(without["weighted_sum"], expected)
    assert without["pitc"] == 0
    means = loss.compute()
    assert means["pitc"] == values["pitc"]
    half = expected + values["pitc"] * (2.5 * 0.125)
    assert means["weighted_sum"].item() == pytest.approx(half.item(), rel=1e-12)


def test_nothing_is_displaced_outside_training(model, batch, attached):
    calls = attached(PIWSLLoss())
    model.eval()
    assert not any(key.startswith("piwsl") for key in model(batch.copy()))
    model.train()
    assert [key for key in model(batch.copy()) if key.startswith("piwsl")] == [KEY]
    calls.moment = lambda: None  # Lightning is validating or testing
    assert not any(key.startswith("piwsl") for key in model(batch.copy()))


def test_batch_without_any_displaced_structure(model, mixed_frames, attached):
    batch = reference.as_batch([mixed_frames[3], mixed_frames[3]], TYPE_NAMES, 3.0)
    loss = PIWSLLoss(pisc_weight=1.0)
    attached(loss)
    values = loss(model(batch.copy()), batch)
    assert values["pitc"] == 0 and values["pisc"] == 0
    assert values["weighted_sum"].isfinite()


def test_not_attached(model, batch):
    with pytest.raises(RuntimeError, match=r"PIWSLCallback.*trainer\.callbacks"):
        PIWSLLoss()(model(batch.copy()), batch)


def test_model_without_forces(batch):
    config = copy.deepcopy(NEQUIP_MODEL)
    config.pop("_target_")
    model, loss = NequIPGNNModel(**config, do_derivatives=False), PIWSLLoss()
    training = Training(loss.settings)
    TrainingCalls(NequIPHost(model), training, lambda: Moment(0, 0, 0), True)
    with pytest.raises(RuntimeError, match="do_derivatives: true"):
        model(batch)


def test_schedulers_set_coefficients():
    loss = PIWSLLoss(pitc_weight=1.0, pisc_weight=1.0)
    loss.set_coeffs({"per_atom_energy_mse": 3.0, "forces_mse": 1.0, "pitc": 2.0})
    assert coeffs_of(loss) == {
        "per_atom_energy_mse": 0.75,
        "forces_mse": 0.25,
        "pitc": 0.5,
        "pisc": None,
    }
    assert loss.weights() == {"pitc": 0.5}
    restored = PIWSLLoss(pitc_weight=1.0, pisc_weight=1.0)
    restored.load_state_dict(loss.state_dict())
    assert coeffs_of(restored) == coeffs_of(loss)


def test_schedules_give_the_pool_its_weight_times_the_sum():
    """As docs/nequip.md has it; a checkpoint, whose sum is 1, gives back what it holds."""
    loss = PIWSLLoss(
        coeffs={"total_energy": 1.0, "forces": 100.0}, pitc_weight=0.1, pool_file="pool.xyz"
    )
    before = coeffs_of(loss)
    assert before["pool"] == 1.0
    loss.set_coeffs({"per_atom_energy_mse": 1.0, "forces_mse": 100.0, "pitc": 0.1, "pool": 101.0})
    assert coeffs_of(loss) == before
    restored = PIWSLLoss(pitc_weight=0.1, pool_file="pool.xyz")
    restored.load_state_dict(loss.state_dict())
    assert coeffs_of(restored) == pytest.approx(before, rel=1e-15)


def test_schedulers_cannot_wake_a_term_of_weight_0():
    with pytest.raises(SettingsError, match=r"'pisc_weight'.*above 0"):
        PIWSLLoss().set_coeffs({"per_atom_energy_mse": 1.0, "pisc": 1.0})
    with pytest.raises(SettingsError, match="supervised"):
        PIWSLLoss().set_coeffs({"pitc": 1.0})


def test_a_term_without_a_coefficient_is_not_evaluated(model, batch, attached):
    loss = PIWSLLoss(pitc_weight=1.0, pisc_weight=1.0)
    attached(loss)
    loss.set_coeffs({"per_atom_energy_mse": 1.0, "pisc": 1.0})
    penalties = model(batch)[KEY].penalties
    assert "pitc" not in penalties and len(penalties["pisc"]) == 3


def test_checkpoints_hold_the_coefficients_without_the_schedules_factor(model, batch, attached):
    loss = PIWSLLoss(pitc_weight=1.0, ramp_epochs=9)
    attached(loss)
    loss(model(batch.copy()), batch)
    assert loss.entries["pitc"].coeff == pytest.approx(0.05)
    assert loss.get_extra_state()["coeff_dict"]["pitc"] == 0.5
    loss.end_step()
    assert loss.entries["pitc"].coeff == 0.5


@pytest.mark.parametrize(
    ("coeffs", "weight"),
    [
        ({"total_energy": 2.0, "forces": 3.0}, 3.0),
        ({"total_energy": 2.0}, 200.0),
        ({"total_energy": 2.0, "forces": 0.0}, 200.0),
    ],
)
def test_weight_of_hessian_labels_follows_the_forces(coeffs, weight):
    loss = PIWSLLoss(coeffs=coeffs, hessian_file="labels.npz")
    total = sum(coeffs.values())
    assert loss.entries["hessian"].coeff == pytest.approx(weight / total)
    assert "pitc" not in loss.entries
    assert loss.weights() == {"hessian": pytest.approx(weight / total)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pitc_wieght": 1}, "did you mean 'pitc_weight'"),
        ({"pitc_weight": -1}, "at least 0"),
        ({"max_displacement": 0.6}, "at most 0.5 Å"),
        ({"max_displacement": 0}, "above 0"),
        ({"displacement": "cube"}, "one of uniform, atom_norm"),
        ({"pitc_form": "symmetric"}, "called consistency_form now"),
        ({"base_loss": "weighted"}, "there is no such option"),
        ({"coeffs": {"total_energy": -1.0}}, "at least 0"),
        ({"coeffs": {"forces": 1.0}}, "total_energy"),
        ({"coeffs": {"total_energy": 1.0, "force": 1.0}}, "total_energy"),
        ({"coeffs": {"total_energy": 1.0}, "metrics": []}, "either"),
    ],
)
def test_errors_name_the_option_and_the_remedy(arguments, message):
    with pytest.raises(SettingsError, match=message) as caught:
        PIWSLLoss(**arguments)
    assert caught.value.name in str(caught.value)


def test_unsupported_nequip(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.20.0")
    with pytest.raises(RuntimeError, match=r"nequip 0\.20\.0: supported is nequip >= 0\.19\.1"):
        PIWSLLoss()


def test_loss_of_the_pool_by_types_without_absent_labels():
    """Two structures: the first without forces, the second without C and with weight 4."""
    loss = PIWSLLoss(
        coeffs={"total_energy": 1.0, "forces": 3.0},
        per_type_forces_coeffs={"C": 1.0, "H": 2.0, "O": 3.0},
        type_names=TYPE_NAMES,
        pool_file="pool.xyz",
        pool_weight=0.5,
    )
    assert loss.entries["pool"].coeff == 0.5
    energy = torch.tensor([[1.0], [2.0]], requires_grad=True)
    forces = torch.arange(15.0).view(5, 3).requires_grad_()
    same = {
        "num_atoms": torch.tensor([2, 3]),
        "batch": torch.tensor([0, 0, 1, 1, 1]),
        "atom_types": torch.tensor([0, 1, 1, 1, 2]),
    }
    labels = {
        **same,
        "forces": torch.full((5, 3), torch.nan),
        structures.WEIGHT: torch.tensor([[1.0], [4.0]]),
    }
    labels["forces"][2:] = 1.0
    preds = {
        "total_energy": energy,
        KEY: Found(
            None, pool={**same, "total_energy": energy, "forces": forces}, pool_labels=labels
        ),
    }
    value = loss["pool"](preds, {})
    of_h, of_o = ((forces[rows] - 1.0).square().mean() for rows in (slice(2, 4), slice(4, 5)))
    expected = 0.75 * 4.0 * (2.0 * of_h + 3.0 * of_o) / 5.0  # no structure has an energy
    torch.testing.assert_close(value, expected, rtol=1e-14, atol=0.0)
    found, wanted = (torch.autograd.grad(v, forces)[0] for v in (value, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-14, atol=0.0)
    torch.testing.assert_close(loss["pool"].compute(), value)
    labels["forces"][:] = torch.nan
    loss["pool"].reset()
    nothing = loss["pool"](preds, {})
    assert nothing == 0.0 and torch.autograd.grad(nothing, energy)[0].isfinite().all()


STRATIFIED = StratifiedHuberForceLoss({0: 0.1, 1: 0.05, 10: 0.02, 50: 0.001})


def with_metric(metric, **forces):
    """A loss with a pool and this metric of the forces."""
    entries = [
        {"name": "energy", "field": "total_energy", "coeff": 1.0, "metric": MeanSquaredError()},
        {"name": "watched", "field": "total_energy", "metric": MeanAbsoluteError()},
        {"name": "forces", "field": "forces", "coeff": 1.0, "metric": metric, **forces},
    ]
    return PIWSLLoss(metrics=entries, pitc_weight=0.0, pool_file="pool.xyz", type_names=TYPE_NAMES)


@pytest.mark.parametrize("per_type", [False, True])
@pytest.mark.parametrize("metric", [STRATIFIED, HuberLoss(delta=0.01), MeanAbsoluteError()])
def test_loss_of_the_pool_is_that_of_a_batch(metric, per_type):
    """Metrics that read whole vectors, too; an atom without a component of its label is none."""
    torch.manual_seed(0)
    loss = with_metric(metric, per_type=per_type)
    n = 20
    same = {
        "num_atoms": torch.tensor([n]),
        "batch": torch.zeros(n, dtype=torch.long),
        "atom_types": torch.arange(n) % 3,
        "total_energy": torch.zeros(1, 1),
    }
    labels = torch.randn(n, 3) * torch.logspace(-2, 2, n)[:, None]
    preds = {**same, "forces": labels + 0.3 * torch.randn(n, 3)}
    more = {
        "num_atoms": torch.tensor([n + 1]),
        "batch": torch.zeros(n + 1, dtype=torch.long),
        "atom_types": torch.cat([same["atom_types"], torch.tensor([1])]),
        "total_energy": torch.zeros(1, 1),
    }
    unknown = torch.tensor([[1.0, torch.nan, 1.0]])
    pool = {**more, "forces": torch.cat([preds["forces"], torch.zeros(1, 3)])}
    of_pool = {**more, "forces": torch.cat([labels, unknown])}
    of_pool[structures.WEIGHT] = torch.ones(1, 1)
    loss.begin(Training(loss.settings, pool=[], weights=loss.weights))
    found = Found(preds, pool=pool, pool_labels=of_pool, weights=loss.weights())
    values = loss(found.in_output(), {**same, "forces": labels})
    torch.testing.assert_close(values["pool"], 0.5 * values["forces"], rtol=1e-12, atol=0.0)
    assert values["pool"] > 0


@pytest.mark.parametrize(
    ("metric", "names"),
    [
        (STRATIFIED, ["forces"]),
        (HuberLoss(), ["forces"]),
        (MeanSquaredError(), []),
        (RootMeanSquaredError(), []),
    ],
)
@pytest.mark.parametrize("per_type", [False, True])
def test_weights_of_the_pool_are_for_squared_errors(metric, names, per_type):
    """Of the terms with a coefficient."""
    assert with_metric(metric, per_type=per_type).unweighted == names
    assert PIWSLLoss().unweighted == []


@pytest.mark.parametrize(
    ("free", "error", "loss"),
    [
        (0, RuntimeError("unexpected pos"), PIWSLLoss),
        (1 << 30, RuntimeError("unexpected pos"), PIWSLLoss),
        (0, ValueError("another"), PIWSLLoss),
        (0, RuntimeError("unexpected pos"), lambda: None),
    ],
    ids=["full", "not full", "another error", "another loss"],
)
def test_a_checkpoint_that_finds_the_disk_full(free, error, loss, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    checkpoints = SimpleNamespace(dirpath=str(tmp_path))
    trainer = SimpleNamespace(checkpoint_callback=checkpoints, is_global_zero=True)
    trainer.default_root_dir = None
    module, callback = SimpleNamespace(loss=loss()), PIWSLCallback()
    if free or isinstance(error, ValueError) or module.loss is None:
        return callback.on_exception(trainer, module, error)
    with pytest.raises(SystemExit, match="no space left in"):
        callback.on_exception(trainer, module, error)
