"""Coefficients, schedule and errors of the loss, and when it is evaluated at all."""

from __future__ import annotations

import copy
import importlib.metadata

import pytest
import torch
from nequip.model import NequIPGNNModel
from nequip.train import EnergyForceLoss, EnergyForceStressLoss, EnergyOnlyLoss

from piwsl_plugins.core.settings import SettingsError
from piwsl_plugins.nequip import PIWSLLoss
from piwsl_plugins.nequip.evaluation import DisplacedEvaluation, Moment

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
    from nequip.train import HuberLoss

    entries = [
        {"name": "energy_huber", "field": "total_energy", "coeff": 4.0, "metric": HuberLoss()},
        {"name": "forces_huber", "field": "forces", "coeff": 1.0, "metric": HuberLoss()},
    ]
    loss = PIWSLLoss(metrics=entries, pitc_weight=1.0)
    assert coeffs_of(loss) == {"energy_huber": 0.8, "forces_huber": 0.2, "pitc": 0.2}


def test_per_type_forces():
    loss = PIWSLLoss(per_type_forces_coeffs={"C": 1.0, "H": 2.0, "O": 3.0}, type_names=TYPE_NAMES)
    assert loss.entries["forces_mse"].per_type_coeffs == [1.0, 2.0, 3.0]


def test_schedule_factor_scales_the_terms_only(model, batch):
    loss = PIWSLLoss(pitc_weight=5.0)
    factor = 0.25
    evaluation = DisplacedEvaluation(model, loss, seed=0, schedule=lambda: Moment(0, factor))
    values = loss(model(batch.copy()), batch)
    expected = 0.5 * values["per_atom_energy_mse"] + 0.5 * values["forces_mse"]
    assert torch.equal(values["weighted_sum"], expected + values["pitc"] * (2.5 * factor))
    assert values["pitc"] > 0
    # an epoch's mean weighs the terms with the mean factor
    factor = 0.0
    without = loss(model(batch.copy()), batch)
    assert torch.equal(without["weighted_sum"], expected)
    assert without["pitc"] == 0
    means = loss.compute()
    assert means["pitc"] == values["pitc"]
    half = expected + values["pitc"] * (2.5 * 0.125)
    assert means["weighted_sum"].item() == pytest.approx(half.item(), rel=1e-12)
    evaluation.remove()


@pytest.mark.parametrize("weights", [{"pitc_weight": 1.0}, {"pisc_weight": 1.0}])
@pytest.mark.parametrize("join", [False, True])
def test_model_output_for_the_original_frames_is_unchanged(weights, join, model, batch):
    expected = model(batch.copy())
    evaluation = DisplacedEvaluation(model, PIWSLLoss(**weights), 0, lambda: Moment(0, 1.0), join)
    found = model(batch.copy())
    assert found.keys() - expected.keys() >= {"piwsl_n_atoms"}
    for key, value in expected.items():
        assert found[key].shape == value.shape
        torch.testing.assert_close(found[key], value, rtol=1e-12, atol=1e-12, equal_nan=True)
    evaluation.remove()


def test_nothing_is_displaced_outside_training(model, batch):
    evaluation = DisplacedEvaluation(model, PIWSLLoss(), 0, lambda: Moment(0, 1.0))
    model.eval()
    assert not any(key.startswith("piwsl") for key in model(batch.copy()))
    model.train()
    evaluation.schedule = lambda: None  # Lightning is validating or testing
    assert not any(key.startswith("piwsl") for key in model(batch.copy()))
    evaluation.remove()


def test_displacements_do_not_depend_on_the_batch(model, mixed_frames):
    loss = PIWSLLoss(pisc_weight=1.0)
    evaluation = DisplacedEvaluation(model, loss, 3, lambda: Moment(2, 1.0))

    def residuals(frames):
        output = model(reference.as_batch(frames, TYPE_NAMES, 3.0))
        return torch.cat([output["piwsl_pitc"], output["piwsl_pisc"]]).detach()

    together = residuals(mixed_frames)
    order = [4, 0, 2, 3, 1]  # the fourth is an isolated atom, which carries no term
    shuffled = residuals([mixed_frames[i] for i in order])
    torch.testing.assert_close(shuffled, together[:, [3, 0, 2, 1]], rtol=1e-9, atol=1e-12)
    evaluation.schedule = lambda: Moment(3, 1.0)
    assert (residuals(mixed_frames) - together).abs().min() > 1e-9  # another epoch
    evaluation.remove()


@pytest.mark.parametrize("term", ["pitc", "pisc"])
def test_residuals_fall_as_the_square_of_the_displacement(term, model, batch):
    """Forces are the gradient of the energy, so the first order cancels."""
    sizes = torch.tensor([0.0002, 0.0004, 0.0008, 0.0016])
    found = []
    for size in sizes.tolist():
        loss = PIWSLLoss(pisc_weight=1.0, max_displacement=size)
        evaluation = DisplacedEvaluation(model, loss, 1, lambda: Moment(0, 1.0))
        found.append(model(batch.copy())[f"piwsl_{term}"].detach().abs().squeeze(0))
        evaluation.remove()
    logs = torch.stack(found).log() - torch.stack(found).log().mean(dim=0)
    x = (sizes.log() - sizes.log().mean()).unsqueeze(1)
    slopes = (x * logs).sum(dim=0) / x.square().sum()
    assert (slopes - 2).abs().max() < 0.05, slopes


def test_batch_without_any_displaced_frame(model, mixed_frames):
    batch = reference.as_batch([mixed_frames[3], mixed_frames[3]], TYPE_NAMES, 3.0)
    loss = PIWSLLoss(pisc_weight=1.0)
    evaluation = DisplacedEvaluation(model, loss, 0, lambda: Moment(0, 1.0))
    values = loss(model(batch.copy()), batch)
    assert values["pitc"] == 0 and values["pisc"] == 0
    assert values["weighted_sum"].isfinite()
    evaluation.remove()


def test_frames_without_labels_carry_no_terms_where_labels_are_needed(model, mixed_frames):
    frames = mixed_frames[:3]
    batch = reference.as_batch(frames, TYPE_NAMES, 3.0)
    batch["forces"][3, 1] = float("nan")
    batch["total_energy"][2] = float("nan")
    evaluation = DisplacedEvaluation(model, PIWSLLoss(anchor="label"), 0, lambda: Moment(0, 1.0))
    output = model(batch)
    assert output["piwsl_n_atoms"].tolist() == [9]
    assert output["piwsl_pitc"].isfinite().all()
    evaluation.loss = PIWSLLoss()  # unlabelled frames carry terms where none are needed
    assert model(batch)["piwsl_n_atoms"].tolist() == [9, 9, 24]
    evaluation.remove()


def test_not_attached(model, batch):
    with pytest.raises(RuntimeError, match=r"PIWSLCallback.*trainer\.callbacks"):
        PIWSLLoss()(model(batch.copy()), batch)


def test_model_without_forces(batch):
    config = copy.deepcopy(NEQUIP_MODEL)
    config.pop("_target_")
    model = NequIPGNNModel(**config, do_derivatives=False)
    DisplacedEvaluation(model, PIWSLLoss(), 0, lambda: Moment(0, 1.0))
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
    assert loss.active_settings().pisc_weight == 0.0
    restored = PIWSLLoss(pitc_weight=1.0, pisc_weight=1.0)
    restored.load_state_dict(loss.state_dict())
    assert coeffs_of(restored) == coeffs_of(loss)


def test_schedulers_cannot_wake_a_term_of_weight_0():
    with pytest.raises(SettingsError, match=r"'pisc_weight'.*above 0"):
        PIWSLLoss().set_coeffs({"per_atom_energy_mse": 1.0, "pisc": 1.0})
    with pytest.raises(SettingsError, match="supervised"):
        PIWSLLoss().set_coeffs({"pitc": 1.0})


def test_checkpoints_hold_the_coefficients_without_the_schedules_factor(model, batch):
    loss = PIWSLLoss(pitc_weight=1.0)
    evaluation = DisplacedEvaluation(model, loss, 0, lambda: Moment(0, 0.1))
    loss(model(batch.copy()), batch)
    assert loss.entries["pitc"].coeff == pytest.approx(0.05)
    assert loss.get_extra_state()["coeff_dict"]["pitc"] == 0.5
    loss.end_step()
    assert loss.entries["pitc"].coeff == 0.5
    evaluation.remove()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pitc_wieght": 1}, "did you mean 'pitc_weight'"),
        ({"pitc_weight": -1}, "at least 0"),
        ({"max_displacement": 0.6}, "at most 0.5 Å"),
        ({"max_displacement": 0}, "above 0"),
        ({"displacement": "cube"}, "one of uniform, one_sided"),
        ({"base_loss": "weighted"}, "MACE only"),
        ({"heads": "a"}, "MACE only"),
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
