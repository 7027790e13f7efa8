"""A training in a loop of one's own: what acts in a step, and what its loss is."""

from __future__ import annotations

import pytest
import torch

from piwsl_plugins.labels.hessian_lookup import HessianLabels
from piwsl_plugins.options.settings import Settings
from piwsl_plugins.terms.found import KEY
from piwsl_plugins.terms.penalties import mean_penalty
from piwsl_plugins.terms.training import Moment, Training
from piwsl_plugins.terms.training_log import TrainingLog
from piwsl_plugins.testing.hessians import springs
from piwsl_plugins.testing.reference import EPOCH, SEED, Reference
from piwsl_plugins.testing.steps import OneBatch

from ..bundled import bundled
from .pair_framework import PairFramework

EVERYTHING = {
    "pitc_weight": 3.0,
    "pisc_weight": 2.0,
    "hessian_file": "given",
    "hessian_weight": 0.5,
    "pool_file": "given",
    "pool_weight": 0.7,
}


class CountedPool(OneBatch):
    """Remembers which batches it was asked for."""

    def __init__(self, batch):
        super().__init__(batch)
        self.asked = []

    def batch(self, number):
        self.asked.append(number)
        return super().batch(number)


@pytest.fixture
def framework():
    return PairFramework()


@pytest.fixture
def structures():
    return [bundled("ethanol_gfn2_train", index) for index in range(3)]


def settings_of(**options):
    return Settings.create({"seed": SEED, **options}).decided(True, 1.0)


def step(framework, training, batch, moment):
    """What is found in a step, and whether the call needs forces."""
    call = training.begin(framework.host, batch, moment, False)
    return training.end(framework.call(call.inputs, call.forces)), call.forces


def squared_energies(output):
    return output["energy"].square().mean()


def test_the_gradient_of_the_loss_is_asked_for_where_terms_go_along_it(framework, structures):
    """Once in a step in which PITC or PISC acts, and in no other."""
    batch, asked = framework.batch(structures), []

    def gradient():
        asked.append(True)
        return torch.ones(27, 3)

    def begin(training, epoch):
        training.begin(framework.host, batch, Moment(epoch, 0, 0), True, gradient)
        return len(asked)

    for kind, expected in (("atom_norm", [0, 0]), ("adversarial", [0, 1])):
        settings = settings_of(displacement=kind, pisc_weight=1.0, start_epoch=1)
        training = Training(settings)
        assert [begin(training, epoch) for epoch in (0, 1)] == expected
    label, off = springs(structures[0]), {"hessian_file": "given", "hessian_weight": 1.0}
    labels = Training(settings_of(displacement="adversarial", **off), HessianLabels([label]))
    assert begin(labels, 1) == 1
    with pytest.raises(RuntimeError, match="give Training"):
        training.begin(framework.host, batch, Moment(1, 0, 0), True)


def test_the_loss_is_base_pool_and_terms_with_their_weights(framework, structures):
    """Against the equations written out, and so are its gradients."""
    settings, label = settings_of(**EVERYTHING), springs(structures[0])
    pool = framework.pooled(structures[2:])
    training = Training(settings, HessianLabels([label]), OneBatch(pool))
    found, _ = step(framework, training, framework.batch(structures[:2]), Moment(EPOCH, 0, 0))
    assert found.pool_labels["labels"] is not None and found.factor == 1.0
    base, of_pool = squared_energies(found.output), squared_energies(found.pool)
    loss = training.loss(found, base, of_pool)
    reference = Reference(framework, settings).terms(structures, [label])
    alone = [framework.alone(atoms)[0] for atoms in structures]
    expected = torch.stack(alone[:2]).square().mean() + 0.7 * alone[2].square()
    for name, weight in {"pitc": 3.0, "pisc": 2.0, "hessian": 0.5}.items():
        expected = expected + weight * reference[name].mean()
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0.0)
    gradients = (torch.autograd.grad(value, framework.parameters) for value in (loss, expected))
    for one, other in zip(*gradients):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)
    means = training.end_epoch()
    assert means.means["base"] == pytest.approx(base.item(), rel=1e-14)
    assert means.means["hessian"] == pytest.approx(0.5 * reference["hessian"].mean().item())
    assert means.weights == {"pitc": 3.0, "pisc": 2.0, "hessian": 0.5}
    assert training.end_epoch().means == {}


def test_terms_act_by_the_schedule(framework, structures):
    settings = settings_of(pitc_weight=4.0, start_epoch=1, ramp_epochs=1, interval=2)
    training, batch = Training(settings), framework.batch(structures)
    weights = []
    for moment in (Moment(0, 0, 0), Moment(1, 2, 2), Moment(1, 3, 3), Moment(2, 4, 4)):
        found, forces = step(framework, training, batch, moment)
        weights.append(found.weights.get("pitc", 0.0))
        assert forces == bool(found.terms) == bool(found.penalties)
        assert found.factor == weights[-1] / 4.0
        base = squared_energies(found.output)
        loss, parts = training.loss(found, base), [found.penalties[t.name] for t in found.terms]
        torch.testing.assert_close(loss, base + sum(weights[-1] * mean_penalty(p) for p in parts))
    assert weights == [0.0, 2.0, 0.0, 4.0]


@pytest.mark.parametrize("pool_weight", [0.7, 0.0])
def test_the_pool_goes_on_in_steps_without_terms(pool_weight, framework, structures):
    """So that a restart, and the loader's workers, are where they would be."""
    pool = CountedPool(framework.pooled(structures[2:]))
    options = {"pitc_weight": 1.0, "pool_file": "given", "pool_weight": pool_weight, "interval": 2}
    training, batch = Training(settings_of(**options), pool=pool), framework.batch(structures[:2])
    for number in (4, 5):
        found, _ = step(framework, training, batch, Moment(0, number, number))
        acts = number == 4
        assert ("pitc" in found.weights) == acts
        assert (found.weights.get("pool") or 0.0) == pool_weight
        assert (found.pool is not None) == (acts or pool_weight > 0.0)
        assert len(found.output["energy"]) == 2
    assert pool.asked == [4, 5]


def test_weights_can_change_on_the_way(framework, structures):
    """As NequIP's callbacks change them; a term without one is not evaluated."""
    weights = {"pitc": 3.0, "pisc": 1.0}
    settings = settings_of(pitc_weight=1.0, pisc_weight=1.0)
    training, batch = Training(settings, weights=lambda: weights), framework.batch(structures)
    assert step(framework, training, batch, Moment(0, 0, 0))[0].weights == weights
    weights.pop("pisc")
    found, _ = step(framework, training, batch, Moment(0, 1, 1))
    assert found.weights == {"pitc": 3.0} and found.penalties.keys() == {"pitc"}


def test_one_key_of_ours_stands_in_the_output(framework, structures):
    settings, pool = settings_of(**EVERYTHING), framework.pooled(structures[2:])
    training = Training(settings, HessianLabels([springs(structures[0])]), OneBatch(pool))
    batch = framework.batch(structures[:2])
    plain = framework.call(dict(batch), True)
    found, _ = step(framework, training, batch, Moment(0, 0, 0))
    output = found.in_output()
    assert output.keys() - plain.keys() == {KEY} and output[KEY] is found


@pytest.mark.parametrize("options", [{"hessian_file": "x"}, {"pool_file": "x"}])
def test_labels_and_pools_are_not_left_out_silently(options):
    with pytest.raises(RuntimeError, match="have not been read"):
        Training(settings_of(**options))


def test_warnings_name_the_option_as_the_user_writes_it(framework, structures):
    """And its weight in the user's unit; the first step is told of once."""
    told, warned = [], []
    log = TrainingLog(told.append, warned.append, "--swa_{}".format, scale=10.0)
    training = Training(settings_of(pitc_weight=1e9), log=log)
    batch = framework.batch(structures)
    for number in range(2):
        found, _ = step(framework, training, batch, Moment(0, number, number))
        base = squared_energies(found.output)
        training.loss(found, base, energy_error=torch.tensor([0.5]))
    (line,), (warning,) = told, warned
    assert "RMS pitc residual" in line and "energy RMSE 500.00 meV/atom" in line
    mean = found.penalties["pitc"].mean().item()
    smaller = 10.0 * 0.1 * base.item() / mean
    assert f"--swa_pitc_weight={smaller:.1g}" in warning and "--swa_max_displacement" in warning


def test_structures_of_the_pool_are_displaced_anew_in_each_batch(framework, structures):
    """... as they come several times in an epoch, and those of the trainer once; a restart too."""
    settings = settings_of(pitc_weight=1.0, pool_file="given", pool_weight=0.0)
    pool, batch = framework.pooled(structures[2:]), framework.batch(structures[:2])

    def residuals(number):
        training = Training(settings, pool=OneBatch(pool))
        return step(framework, training, batch, Moment(EPOCH, number, number))[0].residuals["pitc"]

    found = [residuals(number).tolist() for number in (5, 6, 7, 5)]
    assert found[0][:2] == found[1][:2] == found[2][:2]
    assert len({of_pool for *_, of_pool in found}) == 3 and found[0] == found[3]
