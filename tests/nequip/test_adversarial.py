"""Displacements along the gradient of the supervised loss, from NequIP's own losses."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hydra.utils import get_method
from nequip.data import PerAtomModifier
from nequip.train import MeanSquaredError, MetricsManager

from piwsl_plugins.nequip import PIWSL, PIWSLLoss
from piwsl_plugins.nequip.host import NequIPHost
from piwsl_plugins.nequip.training import TrainingCalls
from piwsl_plugins.terms.found import KEY
from piwsl_plugins.terms.training import Moment, Training
from piwsl_plugins.testing.structures import mixed_structures, moved

from ..adversarial import direction, displacements_seen
from . import reference
from .conftest import MODELS, TYPE_NAMES

R_MAX, EPSILON = 3.0, 0.02
E_F, E = {"total_energy": 1.0, "forces": 3.0}, {"total_energy": 2.0}
OPTIONS = {
    "pitc_weight": 2e3,
    "pisc_weight": 50.0,
    "consistency_form": "trapezoid",
    "displacement": "adversarial",
    "max_displacement": EPSILON,
    "seed": 0,
}
ON_ENERGIES = OPTIONS | {"pisc_weight": 0.0, "consistency_form": "symmetric"}
PER_TYPE = {"per_type_forces_coeffs": {"C": 3.0, "H": 1.0, "O": 2.0}}


def made(name, mode="eager"):
    config = copy.deepcopy(MODELS[name])
    return get_method(config.pop("_target_"))(**config, compile_mode=mode).train()


def batch_of(structures):
    return reference.as_batch(structures, TYPE_NAMES, R_MAX)


def labelled_structures():
    return [atoms for atoms in mixed_structures() if len(atoms) > 1]


def attached(model, loss):
    """The loss in a training of the model, whose hooks are on it."""
    training = Training(loss.settings, seed=0, weights=loss.weights)
    loss.begin(training)
    moment, reads = Moment(0, 0, 0), loss.base_uses_forces
    host = NequIPHost(model)
    return TrainingCalls(host, training, lambda: moment, reads, loss.supervised_loss, reads)


def call(model, loss, batch):
    """The training module's call, and δ of all structures, ``(n_atoms, 3)``."""
    calls = attached(model, loss)
    with displacements_seen() as seen:
        output = model(batch)
    calls.remove()
    (field,) = seen
    return output, field


CASES = {
    "nequip": ("nequip", E_F, OPTIONS),
    "allegro": ("allegro", E_F, OPTIONS),
    "energies": ("nequip", E, ON_ENERGIES),
    "by type": ("nequip", E_F, OPTIONS | PER_TYPE),
}


@pytest.mark.parametrize("case", CASES)
def test_every_atom_moves_by_epsilon_along_the_gradient_of_the_loss(case):
    """By central differences of NequIP's loss of the whole batch, and where it grows."""
    name, coeffs, options = CASES[case]
    structures, model = labelled_structures(), made(name)
    loss = PIWSLLoss(coeffs, type_names=TYPE_NAMES, **options)
    _, field = call(model, loss, batch_of(structures))
    torch.testing.assert_close(field.norm(dim=-1), torch.full((len(field),), EPSILON))
    plain, stock = made(name), PIWSLLoss(coeffs, type_names=TYPE_NAMES, **given(options))

    def loss_of(some):
        batch = batch_of(some)
        return stock(plain(batch), batch)["weighted_sum"].item()

    sizes = [len(atoms) for atoms in structures]
    for number, atom in ((0, 3), (1, 5)):
        expected = EPSILON * direction(loss_of, structures, number, atom)
        found = field.split(sizes)[number][atom].numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * EPSILON)
    there = [moved(atoms, 0.05 * way) for atoms, way in zip(structures, field.split(sizes))]
    assert loss_of(there) > loss_of(structures)


@pytest.mark.parametrize("forces", [True, False])
def test_a_compiled_model_has_the_gradient_of_the_model_that_was_compiled(forces, monkeypatch):
    """And nothing is compiled for it."""
    monkeypatch.setattr(torch, "compile", None)
    batch, loss = batch_of(labelled_structures()), PIWSLLoss(E_F if forces else E, **ON_ENERGIES)
    eager, compiled = (
        NequIPHost(made("allegro", mode)).loss_gradient(batch, loss.supervised_loss, forces)
        for mode in ("eager", "compile")
    )
    assert torch.equal(eager, compiled) and eager.any(dim=-1).all()


def given(options):
    """Options of the same loss without terms."""
    kept = {name: options[name] for name in PER_TYPE if name in options}
    return {**kept, "pitc_weight": 0.0}


def test_the_trainings_metrics_and_parameters_do_not_see_it():
    """What they have summed is as without it; no parameter has a gradient; nothing is saved."""
    model, batch = made("nequip"), batch_of(labelled_structures())
    random = PIWSLLoss(E_F, **{**OPTIONS, "displacement": "atom_norm"})
    loss = PIWSLLoss(E_F, **OPTIONS)
    assert loss.state_dict().keys() == random.state_dict().keys()
    values = []
    for one in (random, loss):
        output, _ = call(model, one, batch)
        assert all(parameter.grad is None for parameter in model.parameters())
        values.append(one(output, batch))
    for name in ("per_atom_energy_mse", "forces_mse"):
        assert torch.equal(values[0][name], values[1][name])
        assert loss[name].count == random[name].count and loss[name].sum == random[name].sum
    assert values[0]["pitc"] != values[1]["pitc"]


def test_the_coefficients_are_those_of_the_step():
    """As a callback has set them last."""
    model, batch = made("nequip"), batch_of(labelled_structures()[:1])
    loss = PIWSLLoss(E_F, **OPTIONS)
    loss.set_coeffs({**loss._coeffs, "forces_mse": 0.0})
    _, scheduled = call(model, loss, batch)
    _, energies = call(model, PIWSLLoss(E, **ON_ENERGIES), batch)
    torch.testing.assert_close(scheduled, energies, rtol=0, atol=1e-12)


@pytest.mark.parametrize("function", [False, True])
def test_a_loop_of_ones_own_moves_atoms_alike(function):
    structures, model = labelled_structures(), made("nequip")
    batch = batch_of(structures)
    expected, _ = call(model, PIWSLLoss(E_F, **OPTIONS), batch)
    stock = MetricsManager(
        [
            {"field": PerAtomModifier("total_energy"), "coeff": 1.0, "metric": MeanSquaredError()},
            {"field": "forces", "coeff": 3.0, "metric": MeanSquaredError()},
        ]
    )
    loss = (lambda batch, output: stock(output, batch)["weighted_sum"]) if function else E_F
    dataset = [reference.as_data(atoms, TYPE_NAMES) for atoms in structures]
    piwsl = PIWSL(model, loss, dataset, log=lambda line: None, **OPTIONS)
    found = piwsl(batch, 0)[KEY]
    for name, penalties in expected[KEY].penalties.items():
        torch.testing.assert_close(found.penalties[name], penalties, rtol=1e-12, atol=0)
