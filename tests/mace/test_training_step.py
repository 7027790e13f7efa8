"""A whole training step, loss and gradients, against a slow, independent float64 reference.

The reference takes one structure at a time and writes base loss, pool and weights out; the terms
are those of the conformance tests' reference.
"""

import contextlib
from unittest import mock

import numpy as np
import pytest
import torch
from mace import modules
from mace.calculators import MACECalculator
from mace.data import AtomicData
from mace.tools.torch_geometric.batch import Batch

from piwsl_plugins.labels.hessian_labels import HessianLabel
from piwsl_plugins.labels.hessian_lookup import HessianLabels
from piwsl_plugins.mace.arguments import MaceSettings
from piwsl_plugins.mace.companions import Companions, companions_of, keep
from piwsl_plugins.mace.host import MACEHost
from piwsl_plugins.mace.loss import EnergyLoss, PIWSLLoss
from piwsl_plugins.mace.training import TrainingCalls, moments_of
from piwsl_plugins.terms.displacements import draw, epoch_keys, geometry_keys
from piwsl_plugins.terms.found import KEY
from piwsl_plugins.terms.pool import Pool
from piwsl_plugins.testing.hessians import labels_of
from piwsl_plugins.testing.reference import EPOCH, SEED, Reference
from piwsl_plugins.testing.steps import OneBatch
from piwsl_plugins.testing.structures import mixed_structures as unweighted_structures
from piwsl_plugins.testing.structures import moved

from .conftest import atomic_data, batch_of, frames, loader, make_model, train_epoch
from .test_host import Framework

NOTHING = Companions()


def settings_for(base_uses_forces=True, **options):
    given = {"seed": SEED, "max_displacement": 0.04, **options}
    return MaceSettings.create(given).decided(base_uses_forces, 1.0)


def companions(labels=None, pool=None):
    """Labels, and structures that all go with each batch."""
    whole = None if pool is None else batch_of([atomic_data(a) for a in pool])
    return Companions(
        None if labels is None else HessianLabels(labels),
        None if whole is None else OneBatch(whole),
    )


def training_calls(model, loss_fn, beside=None, moments=None):
    """The hooks of an epoch, on the model inside the context."""
    host, training = MACEHost(model, loss_fn.settings.mace.heads), loss_fn.begin(beside or NOTHING)
    moments = moments or moments_of(EPOCH, 0)
    return TrainingCalls(host, training, moments, loss_fn.uses_forces, loss_fn.supervised)


def step(model, structures, settings, base=None, beside=None, join=None):
    """One training step as MACE's ``take_step`` takes it; returns loss, found and gradients.

    Args:
        join: whether calls are shared, by default as the host says.
    """
    base = base or modules.WeightedEnergyForcesLoss(energy_weight=3.0, forces_weight=10.0)
    loss_fn = PIWSLLoss(base, settings)
    batch = batch_of([a if isinstance(a, AtomicData) else atomic_data(a) for a in structures])
    model.zero_grad()
    with training_calls(model, loss_fn, beside), shared_calls(join):
        output = model(
            batch.to_dict(),
            training=True,
            compute_force=True,
            compute_virials=False,
            compute_stress=isinstance(base, modules.WeightedEnergyForcesStressLoss),
        )
        loss = loss_fn(pred=output, ref=batch)
        loss.backward()
    assert [key for key in output if key.startswith("piwsl")] == [KEY]
    return loss.detach(), output[KEY], gradients(model)


def shared_calls(join):
    """Whether all calls are shared, or none, inside the context."""
    if join is None:
        return contextlib.nullcontext()
    return mock.patch.object(MACEHost, "shares_calls", lambda *_: join)


def gradients(model):
    return {
        name: torch.zeros_like(value) if value.grad is None else value.grad.clone()
        for name, value in model.named_parameters()
    }


def assert_same_step(found, expected, rtol=1e-9):
    torch.testing.assert_close(found[0], expected[0], rtol=rtol, atol=0)
    scale = max(float(value.abs().max()) for value in expected[1].values())
    for name, value in expected[1].items():
        torch.testing.assert_close(found[1][name], value, rtol=rtol, atol=1e-11 * scale, msg=name)


def mixed_structures():
    """As in the conformance tests, with weights."""
    structures = unweighted_structures()
    structures[1].info["config_weight"] = 2.0
    structures[3].info["config_weight"] = 0.5
    structures[3].info["config_energy_weight"] = 3.0
    return structures


def pool_structures():
    """With labels and weights, with an energy alone, and without any label."""
    whole, energy, bare = frames("ethanol_gfn2_valid", 3)
    whole.info |= {"config_weight": 3.0, "config_forces_weight": 0.5}
    del energy.arrays["REF_forces"], bare.arrays["REF_forces"], bare.info["REF_energy"]
    return [whole, energy, bare]


def base_by_hand(framework, structures, forces):
    """MACE's weighted loss with weights 3 and 10, or energies alone, with weight 3."""
    energy_terms, force_terms = [], []
    for atoms in structures:
        energy, predicted = framework.alone(atoms)
        weight = atoms.info.get("config_weight", 1.0)
        error = torch.zeros(())
        if "REF_energy" in atoms.info:
            error = (energy - atoms.info["REF_energy"]) / len(atoms)
        energy_terms.append(weight * atoms.info.get("config_energy_weight", 1.0) * error**2)
        error = torch.zeros_like(predicted)
        if "REF_forces" in atoms.arrays:
            error = predicted - torch.from_numpy(atoms.arrays["REF_forces"])
        weight = weight * atoms.info.get("config_forces_weight", 1.0)
        force_terms.append(weight * error.square())
    loss = 3.0 * sum(energy_terms) / len(structures)
    return loss + 10.0 * torch.cat(force_terms).mean() if forces else loss


def reference_step(framework, structures, settings, forces, labels=(), pool=()):
    """Loss and gradients of the whole step, one structure after the other."""
    framework.model.zero_grad()
    loss = base_by_hand(framework, structures, forces)
    if pool:
        loss = loss + settings.pool.pool_weight * base_by_hand(framework, pool, forces)
    found = {}
    for atoms in [*structures, *pool]:
        if len(atoms) > 1:
            weight = atoms.info.get("config_weight", 1.0)
            for name, values in Reference(framework, settings).terms([atoms], labels).items():
                found.setdefault(name, []).append(weight * values)
    for name, values in found.items():
        loss = loss + settings.values()[f"{name}_weight"] * torch.cat(values).mean()
    loss.backward()
    return loss.detach(), gradients(framework.model)


HESSIAN = {"hessian_file": "given", "hessian_weight": 20.0}
POOL = {"pool_file": "given", "pool_weight": 0.7}
CASES = {
    "pitc and pisc": {"pitc_weight": 50.0, "pisc_weight": 20.0},
    "trapezoid": {"pitc_weight": 50.0, "pisc_weight": 20.0, "consistency_form": "trapezoid"},
    "hessian": HESSIAN,
    "hessian, symmetric": HESSIAN | {"hessian_form": "symmetric"},
    "hessian, energies": HESSIAN | {"hessian_form": "energies"},
    "pool": POOL | {"pitc_weight": 0.0},
    "unlabelled pool": POOL | {"pool_weight": 0.0, "pitc_weight": 50.0},
    "everything": HESSIAN | POOL | {"pitc_weight": 50.0, "pisc_weight": 20.0},
}


@pytest.fixture(scope="module")
def framework():
    return Framework(modules.ScaleShiftMACE)


@pytest.mark.parametrize(
    ("case", "forces", "join"),
    [(case, True, None) for case in CASES]
    + [("everything", True, True), ("hessian, energies", False, None), ("pool", False, False)],
)
def test_loss_and_gradients_agree_with_the_slow_reference(case, forces, join, framework):
    options = CASES[case]
    settings = settings_for(forces, **options)
    structures = mixed_structures()
    pool = pool_structures() if "pool_file" in options else []
    labels = labels_of([*structures[:2], structures[3], *pool[:1]]) if "hessian" in case else []
    if case == "everything":
        labels = labels_of([structures[0], structures[4], pool[1]])
    expected = reference_step(framework, structures, settings, forces, labels, pool)
    base = None if forces else EnergyLoss(3.0)
    beside = companions(labels or None, pool or None)
    loss, _, found = step(framework.model, structures, settings, base, beside, join)
    assert_same_step((loss, found), expected)


def test_residuals_agree_with_mace_calculator():
    """Energies and forces from MACE's own ASE calculator, in plain numpy."""
    settings = settings_for(pitc_weight=1.0, pisc_weight=1.0)
    model = make_model()
    calculator = MACECalculator(models=model, device="cpu", default_dtype="float64")
    structures = [atoms for atoms in mixed_structures() if len(atoms) > 1]
    _, found, _ = step(model, structures, settings)

    def answer(displaced):
        displaced.calc = calculator
        return displaced.get_potential_energy(), displaced.get_forces()

    def drawn(atoms, point):
        geometry = geometry_keys(torch.from_numpy(atoms.positions), [len(atoms)])
        keys = epoch_keys(geometry, SEED, EPOCH)
        return draw(settings.consistency, point, keys, [len(atoms)])

    for index, atoms in enumerate(structures):
        n = len(atoms)
        delta, waypoint = drawn(atoms, "displaced"), drawn(atoms, "waypoint")
        energy, forces = answer(moved(atoms, torch.zeros(n, 3)))
        displaced, _ = answer(moved(atoms, delta))
        via, via_forces = answer(moved(atoms, waypoint))
        pitc = displaced - (energy - np.sum(delta.numpy() * forces))
        pisc = displaced - (via - np.sum((delta - waypoint).numpy() * via_forces))
        # energies of some 100 eV in float64 leave 1e-13 eV
        for name, value in (("pitc", pitc), ("pisc", pisc)):
            residual = found.residuals[name][index].item()
            assert n * residual == pytest.approx(value, rel=1e-10, abs=2e-12)


@pytest.mark.parametrize("kind", [modules.ScaleShiftMACE, modules.MACE])
def test_residuals_in_float32_survive_the_large_energies_of_dft(kind):
    """Total energies of 10⁵ eV have steps of 0.01 eV in float32; the residual is smaller."""
    atoms = frames("ethanol_gfn2_train", 3)
    settings = settings_for(pitc_weight=1.0, pisc_weight=1.0, max_displacement=0.005)
    sizes = {}
    for dtype in (torch.float64, torch.float32):
        torch.set_default_dtype(torch.float64)
        model = make_model(kind, atomic_energies=np.array([-1e3, -2e4, -4e4])).to(dtype)
        torch.set_default_dtype(dtype)
        try:
            _, found, _ = step(model, atoms, settings)
        finally:
            torch.set_default_dtype(torch.float64)
        sizes[dtype] = torch.cat([9 * found.residuals[name] for name in ("pitc", "pisc")]).double()
    exact, rounded = sizes[torch.float64], sizes[torch.float32]
    assert exact.abs().max() < 0.01
    # the keys of the displacements are made from the rounded positions
    assert rounded.abs().mean() == pytest.approx(exact.abs().mean().item(), rel=0.5)
    assert len(set(rounded.flatten().tolist())) == rounded.numel()


def test_terms_leave_the_forces_of_the_displaced_point_alone():
    """E(r+δ) is evaluated for its energy only: no gradient is worked out for its positions."""
    model, seen = make_model(), []
    forward = model.forward
    model.forward = lambda batch, **k: seen.append((batch, k)) or forward(batch, **k)
    step(model, frames("ethanol_gfn2_train", 2), settings_for(pitc_weight=1.0))
    (original, _), (displaced, keywords) = seen
    assert keywords["compute_force"] is False
    assert not displaced["positions"].requires_grad
    assert original["positions"].requires_grad


@pytest.mark.parametrize("options", [{"pitc_weight": 0.0}, {}, {"hessian_form": "energies"}])
def test_energies_alone_need_no_force_graph(options, monkeypatch):
    model, seen = make_model(), []
    forward = model.forward
    monkeypatch.setattr(
        model, "forward", lambda b, **k: seen.append((b["positions"], k)) or forward(b, **k)
    )
    structures = frames("ethanol_gfn2_train", 2)
    if "hessian_form" in options:
        options = options | HESSIAN
    settings = settings_for(False, **options)
    step(model, structures, settings, EnergyLoss(), companions(labels_of(structures)), False)
    assert len(seen) == (1 if options == {"pitc_weight": 0.0} else 3)
    for positions, keywords in seen:
        assert keywords["compute_force"] is False
        assert not positions.requires_grad


def test_weights_of_zero_give_the_base_loss_bit_for_bit():
    model, structures = make_model(), mixed_structures()
    settings = settings_for(pitc_weight=0.0, pool_file="given", pool_weight=0.0)
    loss, _, found = step(model, structures, settings, beside=companions(pool=pool_structures()))
    base = modules.WeightedEnergyForcesLoss(energy_weight=3.0, forces_weight=10.0)
    batch = batch_of([atomic_data(atoms) for atoms in structures])
    model.zero_grad()
    expected = base(pred=model(batch.to_dict(), training=True, compute_force=True), ref=batch)
    expected.backward()
    assert torch.equal(loss, expected.detach())
    for name, value in gradients(model).items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize(
    "base",
    [
        modules.WeightedHuberEnergyForcesStressLoss(1.0, 1.0, 1.0),
        modules.WeightedEnergyForcesL1L2Loss(1.0, 1.0),
        modules.UniversalLoss(1.0, 1.0, 1.0),
        modules.WeightedEnergyForcesVirialsLoss(1.0, 1.0, 1.0),
    ],
    ids=lambda base: type(base).__name__,
)
def test_a_pool_without_labels_adds_nothing_to_any_base_loss(base):
    """... not even zeros for its stress, which MACE's losses would learn."""
    pool = frames("periodic_gfn2_valid", 2)
    for atoms in pool:
        atoms.info, atoms.arrays = {}, {k: atoms.arrays[k] for k in ("numbers", "positions")}
    beside = companions(pool=pool)
    settings = settings_for(pitc_weight=0.0, **POOL)
    model = make_model()
    batch = batch_of([atomic_data(atoms) for atoms in frames("periodic_gfn2_train", 2)])
    loss_fn = PIWSLLoss(base.double(), settings)
    with training_calls(model, loss_fn, beside):
        output = model(batch.to_dict(), training=True, compute_stress=True, compute_virials=True)
    loss = loss_fn(pred=output, ref=batch)
    torch.testing.assert_close(loss, base.double()(pred=output, ref=batch), rtol=1e-14, atol=0)
    assert loss_fn.engine.log.statistics.means()["pool"] == 0.0


def test_config_weights_scale_the_terms():
    atoms = frames("ethanol_gfn2_train", 1)[0]
    model = make_model()
    base = modules.WeightedEnergyForcesLoss(energy_weight=0.0, forces_weight=0.0)
    settings = settings_for(pitc_weight=1.0)
    first, _, _ = step(model, [atoms], settings, base=base)
    atoms.info["config_weight"] = 3.0
    weighted, _, _ = step(model, [atoms], settings, base=base)
    torch.testing.assert_close(weighted, 3.0 * first)


def test_heads_without_terms_are_left_out():
    atoms = frames("ethanol_gfn2_train", 4)
    heads = ["pt_head", "first", "second"]
    model = make_model(heads=heads, atomic_energies=np.tile([-10.0, -50.0, -100.0], (3, 1)))
    model.scale_shift.scale = torch.ones(3)
    model.scale_shift.shift = torch.zeros(3)
    names = ["pt_head", "first", "second", "first"]
    structures = [atomic_data(a, heads, name) for a, name in zip(atoms, names, strict=True)]
    beside = companions([HessianLabel(a.numbers, a.positions, hessian=np.eye(27)) for a in atoms])

    def count(**options):
        settings = settings_for(pitc_weight=1.0, **HESSIAN, **options)
        _, found, _ = step(model, structures, settings, beside=beside)
        return found.penalties["pitc"].shape[0], found.penalties["hessian"].shape[0]

    assert count() == (3, 3 * 27)
    assert count(heads=("second",)) == (1, 27)
    assert count(heads=("pt_head", "second")) == (2, 2 * 27)


def test_a_batch_without_any_structure_for_the_terms_has_the_base_loss():
    atom = mixed_structures()[2]
    base = modules.WeightedEnergyForcesLoss(1.0, 1.0)
    model = make_model()
    settings = settings_for(pitc_weight=1.0, pisc_weight=1.0)
    loss, found, _ = step(model, [atom], settings, base=base)
    expected, _, _ = step(model, [atom], settings_for(pitc_weight=0.0), base=base)
    assert torch.equal(loss, expected)
    assert found.penalties["pitc"].shape == (0,)


def test_only_the_training_call_is_displaced():
    model = make_model()
    batch = batch_of([atomic_data(frames("ethanol_gfn2_train", 1)[0])])
    for base in (modules.WeightedEnergyForcesLoss(1.0, 1.0), EnergyLoss()):
        loss_fn = PIWSLLoss(base, settings_for())
        with training_calls(model, loss_fn):
            output = model(batch.to_dict(), training=False)
            assert KEY not in output
            assert output["forces"].abs().max() > 0
            assert "pitc" in model(batch.to_dict(), training=True)[KEY].penalties


def test_the_batch_is_left_as_it_was():
    """MACE's ``get_neighborhood`` rewrites the cell that it is given, if it is not periodic."""
    # without the lone atom: where every structure carries terms, none is copied
    batch = batch_of([atomic_data(a) for a in mixed_structures() if len(a) > 1])
    before = {key: value.clone() for key, value in batch.to_dict().items()}
    model = make_model()
    settings = settings_for(pisc_weight=1.0, **POOL)
    loss_fn = PIWSLLoss(modules.WeightedEnergyForcesLoss(1.0, 1.0), settings)
    with training_calls(model, loss_fn, companions(pool=pool_structures())):
        model(batch.to_dict(), training=True)
    for key, value in batch.to_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("options", [HESSIAN, POOL])
def test_what_has_not_been_read_is_not_left_out_silently(options):
    loss_fn = PIWSLLoss(modules.WeightedEnergyForcesLoss(1.0, 1.0), settings_for(**options))
    with pytest.raises(RuntimeError, match="have not been read"):
        loss_fn.begin(NOTHING)


def test_hooks_are_gone_after_the_epoch_even_if_it_fails():
    model = make_model()
    loss_fn = PIWSLLoss(modules.WeightedEnergyForcesLoss(1.0, 1.0), settings_for())
    with pytest.raises(KeyError), training_calls(model, loss_fn):
        raise KeyError
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


@pytest.mark.parametrize("fails", [False, True])
def test_an_epoch_leaves_loader_model_and_optimiser_as_it_found_them(fails, monkeypatch):
    """No attribute of ours stays on what is MACE's, whether the epoch ends well or not."""
    structures = frames("ethanol_gfn2_train", 4)
    settings = settings_for(pitc_weight=1.0, **HESSIAN, **POOL)
    pool = Pool([atomic_data(a) for a in pool_structures()], Batch.from_data_list, 2, seed=3)
    model, data = make_model(), loader([atomic_data(a) for a in structures], 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    theirs = [data, model, optimizer, *data.dataset, *model.modules()]
    before = [dict(vars(one)) for one in theirs]
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    keep(data, Companions(HessianLabels(labels_of(structures[:2])), pool))
    loss_fn = PIWSLLoss(modules.WeightedEnergyForcesLoss(1.0, 1.0), settings)
    if fails:
        monkeypatch.setattr(loss_fn.base_loss, "forward", None)
    with pytest.raises(TypeError) if fails else contextlib.nullcontext():
        train_epoch(model, loss_fn, data, optimizer, 0)
    for one, old in zip(theirs, before):
        assert vars(one).keys() == old.keys(), type(one)
    assert data.collate_fn is before[0]["collate_fn"] and pool.collate_fn == Batch.from_data_list
    assert hooks == [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    assert companions_of(data).pool is pool
    assert companions_of(loader(data.dataset)).pool is None
