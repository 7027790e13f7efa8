"""Displacements along the gradient of the supervised loss, from MACE's own losses."""

from functools import partial

import numpy as np
import pytest
import torch
from mace import modules

from piwsl_plugins.mace import PIWSL
from piwsl_plugins.mace.loss import EnergyLoss, PIWSLLoss
from piwsl_plugins.terms.found import KEY
from piwsl_plugins.testing.structures import mixed_structures, moved

from ..adversarial import direction, displacements_seen
from .conftest import atomic_data, batch_of, make_model
from .test_training_step import gradients, settings_for, step, training_calls

LOSSES = {
    "energies": EnergyLoss(3.0),
    "weighted": modules.WeightedEnergyForcesLoss(3.0, 10.0),
    "stress": modules.WeightedEnergyForcesStressLoss(3.0, 10.0, 2.0),
    "universal": modules.UniversalLoss(3.0, 10.0, 2.0),
    "l1l2": modules.WeightedEnergyForcesL1L2Loss(3.0, 10.0),
}
EPSILON = 0.02
TERMS = {"pitc_weight": 50.0, "pisc_weight": 20.0, "consistency_form": "trapezoid"}


@pytest.fixture(scope="module")
def model():
    return make_model()


def adversarial(base, **options):
    forces = not isinstance(base, EnergyLoss)
    given = {**TERMS, "displacement": "adversarial", "max_displacement": EPSILON, **options}
    if not forces:
        given |= {"consistency_form": "symmetric", "pisc_weight": 0.0}
    return PIWSLLoss(base, settings_for(forces, **given))


def call(model, loss, structures):
    """The trainer's call, and δ of the structures that carry terms, ``(n_atoms, 3)``."""
    batch = batch_of([atomic_data(atoms) for atoms in structures])
    with displacements_seen() as seen, training_calls(model, loss):
        output = model(batch.to_dict(), training=True, **asked(loss.base_loss))
    (field,) = seen
    return batch, output, field


def asked(base):
    return {
        "compute_force": True,
        "compute_virials": False,
        "compute_stress": hasattr(base, "stress_weight"),
    }


def loss_of(model, base, structures):
    """The supervised loss of some structures by MACE alone."""
    batch = batch_of([atomic_data(atoms) for atoms in structures])
    output = model(batch.to_dict(), training=False, **asked(base))
    return base(ref=batch, pred=output).item()


def labelled_structures():
    """Unequal sizes, periodic and not; all atoms have forces and a gradient."""
    return [atoms for atoms in mixed_structures() if len(atoms) > 1]


@pytest.mark.parametrize("name", LOSSES)
def test_every_atom_moves_by_epsilon_along_the_gradient_of_the_base_loss(name, model):
    """By central differences of the loss of the whole batch, and where the loss grows."""
    structures, base = labelled_structures(), LOSSES[name]
    _, _, field = call(model, adversarial(base), structures)
    torch.testing.assert_close(field.norm(dim=-1), torch.full((len(field),), EPSILON))
    sizes = [len(atoms) for atoms in structures]
    for number, atom in ((0, 3), (1, 5), (3, 0)):
        expected = EPSILON * direction(partial(loss_of, model, base), structures, number, atom)
        found = field.split(sizes)[number][atom].numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * EPSILON)
    ways = zip(structures, field.split(sizes))
    there = [moved(atoms, 0.05 * way) for atoms, way in ways]
    assert loss_of(model, base, there) > loss_of(model, base, structures)


def test_nothing_is_left_behind(model):
    """No gradient of a parameter, none on the batch, and the trainer's output as it is."""
    loss = adversarial(LOSSES["weighted"])
    model.zero_grad(set_to_none=True)
    batch, output, _ = call(model, loss, labelled_structures())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not batch["positions"].grad_fn and batch["positions"].grad is None
    plain = model(batch.to_dict(), training=True, **asked(loss.base_loss))
    assert torch.equal(output["forces"], plain["forces"])
    assert torch.equal(output["energy"], plain["energy"])


def test_direction_is_of_the_structure_alone(model):
    """Of equal sizes the number of structures in the batch, a factor of the loss, drops out."""
    base = LOSSES["weighted"]
    structures = [atoms for atoms in labelled_structures() if len(atoms) == 9]
    assert len(structures) == 2
    _, _, together = call(model, adversarial(base), structures)
    for atoms, field in zip(structures, together.split(9)):
        _, _, alone = call(model, adversarial(base), [atoms])
        torch.testing.assert_close(alone, field, rtol=0, atol=1e-12)


def test_a_structure_without_labels_stays_where_it_is(model):
    """Its PITC is 0, a warning says so once, and the others move as without it."""
    structures = labelled_structures()
    bare = structures[0]
    del bare.info["REF_energy"], bare.arrays["REF_forces"]
    loss, lines = adversarial(LOSSES["weighted"]), []
    batch = batch_of([atomic_data(atoms) for atoms in structures])
    with training_calls(model, loss):
        loss.engine.log._warn = lines.append
        for _ in range(2):
            output = model(batch.to_dict(), training=True, **asked(loss.base_loss))
    residual = output[KEY].residuals["pitc"]
    assert residual[0] == 0.0 and (residual[1:] != 0.0).all()
    assert len(lines) == 1 and "--piwsl_displacement=atom_norm" in lines[0]


def test_a_loop_of_ones_own_has_the_same_step(model):
    """With a loss of MACE's and with a function."""
    structures = labelled_structures()
    base = LOSSES["weighted"]
    expected = step(model, structures, adversarial(base).settings, base)
    dataset = [atomic_data(atoms) for atoms in structures]
    options = {**TERMS, "displacement": "adversarial", "max_displacement": EPSILON, "seed": 4}
    for given in (base, lambda ref, pred: base(ref, pred)):
        piwsl = PIWSL(model, given, dataset, log=lambda line: None, **options)
        model.zero_grad()
        batch = batch_of(dataset)
        loss = piwsl.loss(batch, piwsl(batch, epoch=2))
        loss.backward()
        torch.testing.assert_close(loss.detach(), expected[0], rtol=1e-12, atol=0)
        for name, value in gradients(model).items():
            torch.testing.assert_close(value, expected[2][name], rtol=1e-12, atol=1e-12)
