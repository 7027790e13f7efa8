"""PITC, PISC and Hessian labels as functions: closed forms, gradients, and the trainer's terms."""

import numpy as np
import pytest
import torch

from piwsl_plugins.errors import InputError, SettingsError
from piwsl_plugins.functional import draw, hessian, pisc, pitc
from piwsl_plugins.labels.hessian_labels import HessianLabel, write_labels
from piwsl_plugins.labels.hessian_lookup import HessianLabels
from piwsl_plugins.options.settings import Settings
from piwsl_plugins.terms import displacements
from piwsl_plugins.terms.hessian_targets import draw_targets
from piwsl_plugins.terms.training import Moment, Training
from piwsl_plugins.testing.hessians import springs
from piwsl_plugins.testing.reference import EPOCH, SEED

from ..bundled import bundled
from ..documents import examples
from .pair_potential import PairHost, PairPotential, batch_of

SIZES = [2, 3, 1]
BATCH = torch.repeat_interleave(torch.arange(3), torch.tensor(SIZES))


class Harmonic:
    """E = ½ uᵀ A u with u = r − r₀, of structures of several sizes; exact at any distance."""

    def __init__(self):
        random = torch.Generator().manual_seed(1)

        def normal(*shape):
            return torch.randn(shape, generator=random, dtype=torch.float64)

        self.minimum, self.positions = normal(sum(SIZES), 3), normal(sum(SIZES), 3)
        squares = [normal(3 * n, 3 * n) for n in SIZES]
        self.matrices = [(one + one.T).requires_grad_() for one in squares]

    def __call__(self, positions):
        parts = [u.reshape(-1) for u in (positions - self.minimum).split(SIZES)]
        products = [matrix @ u for matrix, u in zip(self.matrices, parts)]
        energy = torch.stack([0.5 * (u @ Au) for u, Au in zip(parts, products)])
        return energy, -torch.cat(products).reshape(-1, 3)

    def quadratic(self, field):
        """½ δᵀAδ of each structure."""
        parts = [one.reshape(-1) for one in field.split(SIZES)]
        return torch.stack([0.5 * (d @ A @ d) for d, A in zip(parts, self.matrices)])


def fields():
    random = torch.Generator().manual_seed(2)
    return draw(BATCH, generator=random), draw(BATCH, generator=random)


def assert_close(found, expected, rtol=1e-9):
    torch.testing.assert_close(found, expected, rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("normalization", ["per_atom", "total"])
@pytest.mark.parametrize("form, share", [("first_order", 1), ("symmetric", 1), ("trapezoid", 0)])
def test_pitc_of_a_harmonic_potential_is_half_of_delta_hessian_delta(form, share, normalization):
    model, (delta, _) = Harmonic(), fields()
    found = pitc(model, model.positions, BATCH, delta, form=form, normalization=normalization)
    expected, sizes = share * model.quadratic(delta), torch.tensor(SIZES)
    assert_close(found.value, expected.detach() / sizes)
    divided = expected / sizes if normalization == "per_atom" else expected
    assert_close(found.penalty, divided.square())


@pytest.mark.parametrize("form, share", [("first_order", 1), ("trapezoid", 0)])
def test_pisc_of_a_harmonic_potential_is_that_of_the_way_between(form, share):
    model, (delta, waypoint) = Harmonic(), fields()
    found = pisc(model, model.positions, BATCH, delta, waypoint, form=form)
    assert_close(
        found.value, share * model.quadratic(delta - waypoint).detach() / torch.tensor(SIZES)
    )


@pytest.mark.parametrize("form", ["forces", "symmetric", "energies"])
def test_hessian_residuals_are_the_error_of_the_hessian(form):
    """Of two structures of three; exactly 0 for the right one."""
    model, (delta, _) = Harmonic(), fields()
    right = [matrix.detach() for matrix in model.matrices]
    found = hessian(model, model.positions, BATCH, right, delta, form=form)
    assert float(found.value.abs().max()) < 1e-9
    wrong = [None, right[1] + torch.eye(9), right[2].numpy() - np.diag([1.0, 2.0, 3.0])]
    found = hessian(model, model.positions, BATCH, wrong, delta, form=form)
    errors = [-torch.ones(9), torch.tensor([1.0, 2.0, 3.0])]
    expected = []
    for error, field in zip(errors, delta.split(SIZES)[1:]):
        field = field.reshape(-1)
        if form == "energies":
            expected.append((error * field * field).sum() / field.square().sum())
        else:
            expected.extend(error * field / field.square().mean().sqrt())
    assert_close(found.value, torch.stack(expected), 1e-6)
    assert_close(found.penalty, (0.05 * torch.stack(expected)).square(), 1e-6)
    assert found.structure.tolist() == ([1, 2] if form == "energies" else 9 * [1] + 3 * [2])


class Pairs:
    """The pair potential for a function of the positions."""

    def __init__(self, structures):
        self.model, self.structures = PairPotential(), structures
        self.sizes = [len(atoms) for atoms in structures]
        self.positions = torch.cat([torch.from_numpy(a.positions.copy()) for a in structures])
        self.batch = torch.arange(len(structures)).repeat_interleave(torch.tensor(self.sizes))

    def __call__(self, positions):
        moved = [atoms.copy() for atoms in self.structures]
        for atoms, points in zip(moved, positions.split(self.sizes)):
            atoms.positions = points.numpy()
        output = self.model(batch_of(moved))
        return output["energy"], output["forces"]


@pytest.fixture
def pairs():
    return Pairs([bundled("ethanol_gfn2_train", 0), bundled("periodic_gfn2_train", 0)])


CONSISTENCY = ["first_order", "trapezoid", "symmetric"]
HESSIANS = ["forces", "symmetric", "energies"]


def keys_of(pairs):
    keys = displacements.geometry_keys(pairs.positions, pairs.sizes)
    return displacements.epoch_keys(keys, SEED, EPOCH)


@pytest.mark.parametrize("form, of_hessian", zip(CONSISTENCY, HESSIANS))
def test_penalties_are_those_of_a_training(form, of_hessian, pairs):
    """With the displacements that it draws, for a probe label among others."""
    label = springs(pairs.structures[0])
    settings = Settings.create(
        {
            "seed": SEED,
            "pitc_weight": 1.0,
            "pisc_weight": 0.0 if form == "symmetric" else 1.0,
            "consistency_form": form,
            "hessian_file": "given",
            "hessian_weight": 1.0,
            "hessian_form": of_hessian,
        }
    )
    host = PairHost(pairs.model)
    training = Training(settings, HessianLabels([label]))
    call = training.begin(host, batch_of(pairs.structures), Moment(EPOCH, 0, 0), True)
    trained = training.end(pairs.model(call.inputs)).penalties

    keys, options = keys_of(pairs), settings.consistency
    delta, waypoint = (
        displacements.draw(options, stream, keys, pairs.sizes)
        for stream in ("displaced", "waypoint")
    )
    found = pitc(pairs, pairs.positions, pairs.batch, delta, form=form).penalty
    assert_close(found, trained["pitc"])
    if form != "symmetric":
        found = pisc(pairs, pairs.positions, pairs.batch, delta, waypoint, form=form).penalty
        assert_close(found, trained["pisc"])
    drawn = torch.zeros_like(pairs.positions)
    drawn[: pairs.sizes[0]] = draw_targets(settings.hessian, [label], keys[:1]).displacement
    labels = [label, None]
    found = hessian(pairs, pairs.positions, pairs.batch, labels, drawn, form=of_hessian)
    assert_close(found.penalty, trained["hessian"], 1e-6)


def total(pairs, form, of_hessian):
    """All terms with fixed random numbers."""
    random = torch.Generator().manual_seed(3)
    delta, waypoint = (draw(pairs.batch, generator=random) for _ in range(2))
    given, origin = (pairs.positions, pairs.batch), pairs(pairs.positions)
    labels = [springs(pairs.structures[0]), None]
    value = pitc(pairs, *given, delta, form=form, origin=origin).penalty.mean()
    if form != "symmetric":
        value = value + pisc(pairs, *given, delta, waypoint, form=form).penalty.mean()
    found = hessian(pairs, *given, labels, form=of_hessian, generator=random, origin=origin)
    return value + found.penalty.mean()


@pytest.mark.parametrize("form, of_hessian", zip(CONSISTENCY, HESSIANS))
def test_gradients_are_those_of_finite_differences(form, of_hessian, pairs):
    exponents = pairs.model.exponents
    (slope,) = torch.autograd.grad(total(pairs, form, of_hessian), exponents)
    values = []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            exponents[1] += step
        values.append(total(pairs, form, of_hessian).item())
        with torch.no_grad():
            exponents[1] -= step
    assert slope[1].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5)


def test_a_batch_is_its_structures_one_by_one(pairs):
    delta, waypoint = draw(pairs.batch), draw(pairs.batch)
    labels = [springs(atoms) for atoms in pairs.structures]
    terms = [
        lambda one, *fields, labels: pitc(one, one.positions, one.batch, fields[0]),
        lambda one, *fields, labels: pisc(one, one.positions, one.batch, *fields),
        lambda one, *fields, labels: hessian(one, one.positions, one.batch, labels, fields[0]),
    ]
    for term in terms:
        together = term(pairs, delta, waypoint, labels=labels).penalty
        apart = [
            term(Pairs([atoms]), d, w, labels=[label]).penalty
            for atoms, d, w, label in zip(
                pairs.structures, delta.split(pairs.sizes), waypoint.split(pairs.sizes), labels
            )
        ]
        assert_close(together, torch.cat(apart), 1e-6)


def test_displacements_are_drawn_by_a_generator():
    first, second, other = (
        draw(BATCH, 0.1, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert 0.05 < float(first.abs().max()) <= 0.1
    with pytest.raises(SettingsError, match="give pitc"):
        draw(BATCH, 0.1, "adversarial")
    by_atom = draw(BATCH, 0.1, "atom_norm")
    assert_close(by_atom.norm(dim=-1), torch.full((6,), 0.1, dtype=torch.float64))
    structures = [field.norm() for field in draw(BATCH, 0.1, "structure_norm").split(SIZES)]
    assert_close(torch.stack(structures), torch.full((3,), 0.1, dtype=torch.float64))


def test_probes_and_labels_of_some_atoms_go_along_their_own_displacements():
    model = Harmonic()
    matrix, n = model.matrices[1].detach().numpy(), SIZES[1]
    what = {"numbers": np.zeros(n, dtype=int), "positions": np.zeros((n, 3))}
    some = HessianLabel(**what, hessian=matrix[:6], atoms=np.array([0, 1]))
    probes = np.random.default_rng(0).normal(size=(4, n, 3)) * 0.01
    changes = -np.einsum("ij,pj->pi", matrix, probes.reshape(4, -1)).reshape(4, n, 3)
    measured = HessianLabel(**what, displacements=probes, force_changes=changes)
    for label in (some, measured):
        found = hessian(model, model.positions, BATCH, [None, label, None])
        assert float(found.value.abs().max()) < 1e-8 and set(found.structure.tolist()) == {1}
        with pytest.raises(InputError, match="leave it out"):
            hessian(model, model.positions, BATCH, [None, label, None], fields()[0])
    nothing = hessian(model, model.positions, BATCH, [None, None, None])
    assert len(nothing.penalty) == 0 and float(nothing.mean()) == 0.0


def test_forces_of_which_nothing_can_be_learned_are_refused():
    """Without create_graph the term of forces has no gradient, and that of PITC a wrong one."""
    model, (delta, _) = Harmonic(), fields()
    labels = [matrix.detach() for matrix in model.matrices]

    def cut(positions):
        energy, forces = model(positions)
        return energy, forces.detach()

    for call in (
        lambda: hessian(cut, model.positions, BATCH, labels),
        lambda: pitc(cut, model.positions, BATCH, delta),
        lambda: pitc(model, model.positions, BATCH, delta, origin=cut(model.positions)),
    ):
        with pytest.raises(InputError, match="create_graph=True"):
            call()
    expected = pitc(model, model.positions, BATCH, delta)
    with torch.no_grad():
        found = pitc(cut, model.positions, BATCH, delta)
    assert_close(found.penalty, expected.penalty.detach())
    assert_close(expected.mean(), expected.penalty.mean())


def test_labels_along_no_displacement_are_refused():
    model, (delta, _) = Harmonic(), fields()
    labels = [None, model.matrices[1].detach(), model.matrices[2].detach()]
    delta[BATCH == 2] = 0.0
    with pytest.raises(InputError, match=r"structure 2 \(from 0\) has a label, but none .* moves"):
        hessian(model, model.positions, BATCH, labels, delta)
    found = hessian(model, model.positions, BATCH, [*labels[:2], None], delta)
    assert torch.isfinite(found.penalty).all()


def test_wrong_tensors_are_named():
    model, (delta, waypoint) = Harmonic(), fields()
    r, right = model.positions, [matrix.detach() for matrix in model.matrices]
    with pytest.raises(InputError, match="batch: the atoms of a structure must stand"):
        pitc(model, r, BATCH.flip(0), delta)
    with pytest.raises(InputError, match="displacements: of shape"):
        pitc(model, r, BATCH, delta[:1])
    with pytest.raises(InputError, match=r"evaluate: energies of shape \(3, 1\)"):
        pitc(lambda p: (model(p)[0][:, None], model(p)[1]), r, BATCH, delta)
    with pytest.raises(InputError, match="it gives no forces"):
        pitc(lambda p: (model(p)[0], None), r, BATCH, delta)
    pitc(lambda p: (model(p)[0], None), r, BATCH, delta, form="symmetric")
    with pytest.raises(InputError, match="2 for 3 structures"):
        hessian(model, r, BATCH, right[:2])
    with pytest.raises(
        InputError, match=r"structure 2 \(from 0\): its hessian have shape \(9, 9\)"
    ):
        hessian(model, r, BATCH, [right[0], None, right[1]])
    for wrong in ("auto", "third"):
        with pytest.raises(SettingsError, match="form"):
            pitc(model, r, BATCH, delta, form=wrong)
    with pytest.raises(SettingsError, match="PISC follows forces"):
        pisc(model, r, BATCH, delta, waypoint, form="symmetric")


def test_the_documented_examples_run(pairs, monkeypatch, tmp_path):
    """Labels are found for the frames that have one, and the loss reaches the parameters."""
    monkeypatch.chdir(tmp_path)
    write_labels("hessians.npz", [springs(pairs.structures[1])], "springs")
    of_tensors, of_labels = examples("own_loop.md", "Any other model")
    names = {"frames": pairs.structures}
    exec(of_labels, names)
    assert [label is not None for label in names["hessians"]] == [False, True]
    factor = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    index = pairs.batch
    names |= {
        "model": lambda r: torch.zeros(2, dtype=r.dtype).index_add(
            0, index, factor * r.square().sum(-1)
        ),
        "positions": pairs.positions,
        "batch": index,
        "base_loss": lambda energy, forces: 0.0 * forces.sum(),
    }
    exec(of_tensors, names)
    assert factor.grad is not None and float(factor.grad) != 0.0
