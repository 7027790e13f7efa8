"""PIWSL in a loop of one's own: the same steps as in NequIP's training module."""

from __future__ import annotations

import contextlib
import copy

import ase
import ase.io
import pytest
import torch
from nequip.data import AtomicDataDict, compute_neighborlist_
from nequip.train import EnergyForceLoss

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.labels.hessian_labels import read_labels, write_labels
from piwsl_plugins.labels.hessian_lookup import HessianLabels
from piwsl_plugins.nequip import PIWSL, PIWSLLoss
from piwsl_plugins.nequip.host import NequIPHost
from piwsl_plugins.nequip.pool_files import open_pool
from piwsl_plugins.nequip.pool_frames import PoolFrames
from piwsl_plugins.nequip.structures import join
from piwsl_plugins.nequip.training import TrainingCalls
from piwsl_plugins.terms.found import KEY
from piwsl_plugins.terms.host import STRUCTURES
from piwsl_plugins.terms.pool import Pool
from piwsl_plugins.terms.training import Moment, Training
from piwsl_plugins.testing.hessians import springs

from ..bundled import bundled
from ..documents import examples
from ..mace.two_ranks import on_two_ranks
from . import reference
from .conftest import MODELS, TYPE_NAMES, global_state
from .test_host import NequIPFramework

R_MAX = 3.0
MOMENT = Moment(3, 5, 5)
FORCES = {"total_energy": 1.0, "forces": 3.0}
#: model, coefficients, options, whether there are Hessian labels
CASES = {
    "pitc": ("nequip", FORCES, {"pitc_weight": 2e3}, False),
    "hessian": ("allegro", FORCES, {"pisc_weight": 5.0, "ramp_epochs": 9}, True),
    "energies": ("nequip", {"total_energy": 2.0}, {"hessian_form": "energies"}, True),
}


@pytest.fixture
def structures():
    return [bundled("ethanol_gfn2_train", index) for index in range(3)]


@pytest.fixture
def files(structures, tmp_path):
    """A pool, of which one frame has no forces, and labels of one frame and of none."""
    pool = [bundled("ethanol_gfn2_valid", index) for index in range(3)]
    del pool[1].arrays["REF_forces"]
    ase.io.write(tmp_path / "pool.xyz", pool)
    labels = [springs(structures[0]), springs(bundled("ethanol_gfn2_test", 0))]
    write_labels(tmp_path / "labels.npz", labels, "springs")
    return tmp_path / "pool.xyz", tmp_path / "labels.npz"


def make_model(kind):
    return NequIPFramework(MODELS[kind], seed=3).model


def data_of(structures):
    return [reference.as_data(atoms, TYPE_NAMES) for atoms in structures]


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: value.grad.clone() for name, value in model.named_parameters()}


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_are_those_of_the_trainer(case, structures, files):
    """With a supervised pool: NequIP's module calls model and loss between the same hooks."""
    kind, coeffs, options, with_labels = CASES[case]
    pool_file, hessian_file = map(str, files)
    options = {
        "seed": 7,
        "pool_file": pool_file,
        "pool_per_batch": 2,
        "pool_weight": 0.7,
        **options,
    }
    if with_labels:
        options["hessian_file"] = hessian_file
    model, lines = make_model(kind), []
    before = copy.deepcopy(model.state_dict())
    piwsl = PIWSL(model, coeffs, data_of(structures), log=lines.append, **options)
    batch = reference.as_batch(structures, TYPE_NAMES, R_MAX)
    value = piwsl.loss(batch, piwsl(dict(batch), MOMENT.epoch, MOMENT.step))
    of_loop = gradients(model, value)
    after = model.state_dict()
    assert before.keys() == after.keys() and all(map(torch.equal, before.values(), after.values()))
    assert not model._forward_hooks and not model._forward_pre_hooks
    assert "pool of 3 structures, 3 with labels" in lines[0]
    assert not with_labels or "1 of 2 labels are used, 1 belong to none of them" in lines[1]

    loss = PIWSLLoss(coeffs, type_names=TYPE_NAMES, **options)
    labels = HessianLabels(read_labels(hessian_file)) if with_labels else None
    frames = PoolFrames(pool_file, open_pool(pool_file, []), model, {"total_energy", "forces"})
    training = Training(
        loss.settings, labels, Pool(frames, join, 2, 7), seed=7, weights=loss.weights
    )
    loss.begin(training)
    calls = TrainingCalls(NequIPHost(model), training, lambda: MOMENT, loss.base_uses_forces)
    expected = loss(model(dict(batch)), batch)["weighted_sum"]
    calls.remove()
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0.0)
    for name, gradient in gradients(model, expected).items():
        torch.testing.assert_close(of_loop[name], gradient, rtol=1e-12, atol=1e-14)


def test_a_function_of_ones_own_is_a_loss(structures, files):
    """Weights are then as they are, not divided by a sum."""
    data, hessian_file = data_of(structures), files[1]
    batch = reference.as_batch(structures, TYPE_NAMES, R_MAX)

    model, options = make_model("nequip"), {"hessian_file": hessian_file, "log": [].append}
    with pytest.raises(SettingsError, match=r"'hessian_weight' = None: .* forces_weight"):
        PIWSL(model, squares, data, **options)
    own = PIWSL(model, squares, data, forces_weight=3.0, **options)
    stock = PIWSL(model, {"total_energy": 0.0, "forces": 3.0}, data, **options)
    values = [3.0 * stock.loss(batch, stock(batch)), own.loss(batch, own(batch))]
    torch.testing.assert_close(*values)
    own.loss(batch, own(batch)).backward()
    assert own.step == 2 and "hessian=" in str(own.end_epoch()) and own.epoch == 1
    with pytest.raises(RuntimeError, match="call it in place of the model"):
        own.loss(batch, model(dict(batch)))
    with pytest.raises(RuntimeError, match="evaluation mode"):
        own._model.eval()
        own(batch)


def test_missing_labels_of_a_pool_do_not_count_in_a_function(structures):
    """Whether one frame lacks them, or all: they are no NaN, and the others' are what they are."""
    whole, energy, none = (bundled("ethanol_gfn2_valid", index) for index in range(3))
    for atoms in (energy, none):
        del atoms.arrays["REF_forces"]
    del none.info["REF_energy"]

    def both(target, output):
        error = output["total_energy"] - target["total_energy"]
        return squares(target, output) + error.square().mean()

    model, data = make_model("nequip"), data_of(structures)
    batch, values = reference.as_batch(structures, TYPE_NAMES, R_MAX), []
    for pool in ([whole], [whole, none], [energy], [energy, none]):
        piwsl = PIWSL(model, both, data, pool=pool, pool_per_batch=len(pool), log=[].append)
        output = piwsl(batch)
        found = output[KEY]
        rest = (piwsl.loss(batch, output) - both(batch, output)).item()
        rest -= sum(
            found.weights[t.name] * found.penalties[t.name].mean().item() for t in found.terms
        )
        values.append(rest)
    assert values[0] > 0 and values[1] == pytest.approx(values[0] / 2, rel=1e-6)
    assert values[2] > 0 and values[3] == pytest.approx(values[2] / 2, rel=1e-6)


def test_a_loop_trains_over_a_plain_loader(structures):
    """In which the loss falls; a pool may be given as frames, and the loader may prepare steps."""

    data = [compute_neighborlist_(one, R_MAX) for one in data_of(structures)]
    loader = torch.utils.data.DataLoader(data, 3, collate_fn=AtomicDataDict.batched_from_list)
    model, pool = make_model("nequip"), [bundled("ethanol_gfn2_valid", 0)]
    piwsl = PIWSL(model, FORCES, data, pool=pool, pitc_weight=0.1, pool_per_batch=1, log=[].append)
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=1e-2), []
    for epoch in range(4):
        with piwsl.loading(loader) if epoch % 2 else contextlib.nullcontext():
            (batch,) = loader
        assert (STRUCTURES in batch) == bool(epoch % 2)
        batch = AtomicDataDict.to_(batch, "cpu")
        output = piwsl(batch, epoch)
        assert [term.name for term in output[KEY].terms] == ["pitc"]
        loss = piwsl.loss(batch, output)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_the_documented_loop_runs(structures, files, monkeypatch, capsys):
    pool_file, hessian_file = files
    monkeypatch.chdir(pool_file.parent)
    hessian_file.rename("hessians.npz")
    data, model = data_of(structures), make_model("nequip")
    names = {
        "model": model,
        "dataset": data,
        "loader": [reference.as_batch(structures, TYPE_NAMES, R_MAX)],
        "optimizer": torch.optim.Adam(model.parameters(), lr=0.01),
        "device": "cpu",
        "n_epochs": 2,
    }
    (example,) = examples("own_loop.md", "NequIP and Allegro")
    exec(example, names)
    *_, first, last = capsys.readouterr().out.splitlines()
    assert "hessian=" in last and "pool_loss=" in last and first != last


def test_errors_are_those_of_the_options(structures, files):
    data, model = data_of(structures), make_model("nequip")
    bare = ase.Atoms("H2", [[0.0, 0.0, 0.0], [0.0, 0.0, 0.8]])
    refused = {
        "none of its 2 labels belongs": (data[1:], {"hessian_file": files[1]}),
        "did you mean 'pitc_weight'": (data, {"pitc_wieght": 1.0}),
        "there is no such file": (data, {"pool_file": "no.xyz"}),
        "your loop validates": (data, {"softening_guard": "off"}),
        "no frame has a label that the loss reads": (data, {"pool": [bare]}),
    }
    for message, (given, options) in refused.items():
        with pytest.raises(SettingsError, match=message):
            PIWSL(model, FORCES, given, log=[].append, **options)
    for given in (torch.utils.data.DataLoader(data), data[0]):
        with pytest.raises(TypeError, match="structures: the dataset of the training"):
            PIWSL(model, FORCES, given)
    with pytest.raises(TypeError, match="give the coefficients"):
        PIWSL(model, EnergyForceLoss(type_names=TYPE_NAMES), data)


def test_weights_of_zero_are_said(structures, files):
    options = {"hessian_file": files[1], "hessian_weight": 0.0}
    for loss in (FORCES, squares):
        lines = []
        PIWSL(make_model("nequip"), loss, data_of(structures), log=lines.append, **options)
        assert lines == ["PIWSL: all weights are 0: this trains with the loss alone"]


def step_of_rank(rank, loss, hessian_file):
    """Gradients of a rank's structure, or, without a rank, of both; only the first has a label."""
    with global_state():
        structures = [bundled("ethanol_gfn2_train", index) for index in range(2)]
        model = make_model("nequip")
        called, some = model, structures
        if rank is not None:
            called = torch.nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
            some = structures[rank : rank + 1]
        piwsl = PIWSL(
            called,
            FORCES if loss == "coefficients" else squares,
            data_of(structures),
            hessian_file=hessian_file,
            hessian_weight=2.0,
            pitc_weight=30.0,
            log=lambda line: None,
        )
        batch = reference.as_batch(some, TYPE_NAMES, R_MAX)
        return gradients(model, piwsl.loss(batch, piwsl(batch, 1)))


def squares(target, output):
    return 3.0 * (output["forces"] - target["forces"]).square().mean()


def steps_of_rank(rank, hessian_file):
    return {loss: step_of_rank(rank, loss, hessian_file) for loss in ("coefficients", "function")}


@pytest.mark.slow
def test_two_ranks_give_the_gradients_of_one(files, tmp_path):
    """Of the whole batch, where only the structure of one rank has a label; for both losses."""
    (tmp_path / "ranks").mkdir()
    found = on_two_ranks(tmp_path / "ranks", steps_of_rank, str(files[1]))
    for loss, expected in steps_of_rank(None, str(files[1])).items():
        for of_rank in found:
            for name, value in expected.items():
                torch.testing.assert_close(of_rank[loss][name], value, rtol=1e-9, atol=1e-11)
