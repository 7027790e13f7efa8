"""PIWSL in a loop of one's own: the same steps as in MACE's trainer, and the same errors."""

import contextlib
import copy

import ase.io
import numpy as np
import pytest
import torch
from e3nn.util import jit
from mace import modules
from mace.tools.torch_geometric.batch import Batch

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.labels.hessian_labels import read_labels, write_labels
from piwsl_plugins.labels.hessian_lookup import HessianLabels
from piwsl_plugins.mace import PIWSL
from piwsl_plugins.mace.arguments import MaceSettings
from piwsl_plugins.mace.companions import Companions
from piwsl_plugins.mace.loss import EnergyLoss
from piwsl_plugins.terms.found import KEY
from piwsl_plugins.terms.host import STRUCTURES
from piwsl_plugins.terms.pool import Pool
from piwsl_plugins.testing.hessians import springs
from piwsl_plugins.testing.reference import EPOCH

from ..documents import examples
from .conftest import atomic_data, batch_of, frames, loader, make_model
from .test_training_step import gradients, step
from .two_ranks import on_two_ranks


def weighted_loss():
    return modules.WeightedEnergyForcesLoss(energy_weight=3.0, forces_weight=10.0)


@pytest.fixture
def structures():
    return frames("ethanol_gfn2_train", 4)


@pytest.fixture
def hessian_file(structures, tmp_path):
    """Labels of two of the structures, and of one that is not there."""
    labels = [springs(atoms) for atoms in [*structures[:2], frames("ethanol_gfn2_test", 1)[0]]]
    write_labels(tmp_path / "hessians.npz", labels, "springs")
    return tmp_path / "hessians.npz"


@pytest.fixture
def pool_frames():
    """With labels, with an energy alone, and without any."""
    whole, energy, bare = frames("ethanol_gfn2_valid", 3)
    del energy.arrays["REF_forces"], bare.arrays["REF_forces"], bare.info["REF_energy"]
    return [whole, energy, bare]


#: base loss, options, whether there are Hessian labels, and the weight that these then have
CASES = {
    "pitc": (weighted_loss, {"pitc_weight": 2.0}, None),
    "pisc": (weighted_loss, {"pisc_weight": 1.0, "ramp_epochs": 9}, None),
    "hessian": (weighted_loss, {"pitc_weight": 2.0}, 10.0),
    "norms": (modules.WeightedEnergyForcesL1L2Loss, {"hessian_weight": 5.0}, 5.0),
    "energies": (EnergyLoss, {"hessian_form": "energies"}, 100.0),
}


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_are_those_of_the_trainer(
    case, structures, hessian_file, pool_frames, tmp_path
):
    """With a pool that is supervised, in every second case given as a file."""
    make_loss, options, hessian_weight = CASES[case]
    options = {"seed": 7, "pool_per_batch": 2, "pool_weight": 0.7, **options}
    given = {"pool": pool_frames}
    if hessian_weight:
        ase.io.write(tmp_path / "pool.xyz", pool_frames)
        given = {"pool_file": tmp_path / "pool.xyz", "hessian_file": hessian_file}
    model, loss, lines = make_model(), make_loss(), []
    before = copy.deepcopy(model.state_dict())
    data = [atomic_data(atoms) for atoms in structures]
    piwsl = PIWSL(model, loss, data, log=lines.append, **options, **given)
    batch = batch_of(data)
    value = piwsl.loss(batch, piwsl(batch, EPOCH))
    value.backward()
    of_loop = gradients(model)

    after = model.state_dict()
    assert before.keys() == after.keys() and all(map(torch.equal, before.values(), after.values()))
    assert not model._forward_hooks and not model._forward_pre_hooks
    assert (piwsl.settings.hessian.hessian_weight or None) == hessian_weight
    assert "pool of 3 structures, 2 with labels" in lines[0]

    files = {name: str(tmp_path / "x") for name in ("pool_file", "hessian_file")}
    files = files if hessian_weight else {"pool_file": files["pool_file"]}
    settings = MaceSettings.create({**options, **files}).decided(
        case != "energies", hessian_weight or 0.0
    )
    labels = HessianLabels(read_labels(hessian_file)) if hessian_weight else None
    pool = Pool([atomic_data(atoms) for atoms in pool_frames], Batch.from_data_list, 2, 7)
    expected = step(model, structures, settings, loss, Companions(labels, pool))
    torch.testing.assert_close(value.detach(), expected[0], rtol=1e-12, atol=0.0)
    assert any(gradient.any() for gradient in of_loop.values())
    for name, gradient in expected[2].items():
        torch.testing.assert_close(of_loop[name], gradient, rtol=1e-12, atol=1e-14)


def test_a_loop_trains_over_a_plain_loader(structures, hessian_file):
    """Epochs and steps count by themselves; labels that are not used are named."""
    model, lines = make_model(), []
    data = [atomic_data(atoms) for atoms in structures]
    piwsl = PIWSL(
        model, weighted_loss(), data, hessian_file=hessian_file, start_epoch=1, log=lines.append
    )
    assert "2 of 3 labels are used, 1 belong to none of them" in lines[0]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    acted = []
    for _ in range(2):
        for batch in loader(data, 2):
            output = piwsl(batch)
            optimizer.zero_grad()
            piwsl.loss(batch, output).backward()
            optimizer.step()
            acted.append([term.name for term in output[KEY].terms])
        means = piwsl.end_epoch()
    assert acted == [[], [], ["hessian"], ["hessian"]] and (piwsl.epoch, piwsl.step) == (2, 4)
    assert means.means["hessian"] > 0 and "hessian=" in str(means)


def test_the_documented_loop_runs(structures, hessian_file, pool_frames, monkeypatch, capsys):
    monkeypatch.chdir(hessian_file.parent)
    ase.io.write("pool.xyz", pool_frames)
    model = make_model()
    names = {
        "model": model,
        "loader": loader([atomic_data(atoms) for atoms in structures], 4),
        "optimizer": torch.optim.Adam(model.parameters(), lr=0.01),
        "device": "cpu",
        "n_epochs": 2,
    }
    (example,) = examples("own_loop.md", "MACE")
    exec(example, names)
    *_, first, last = capsys.readouterr().out.splitlines()
    assert "hessian=" in last and "pool_loss=" in last and first != last


def test_a_function_of_ones_own_is_a_loss(structures, hessian_file):
    """Its weight of forces is not known, and is asked for."""
    data = [atomic_data(atoms) for atoms in structures]

    def squares(batch, output):
        return 10.0 * (output["forces"] - batch["forces"]).square().mean()

    with pytest.raises(SettingsError, match=r"'hessian_weight' = None: .* forces_weight"):
        PIWSL(make_model(), squares, data, hessian_file=hessian_file)
    model, batch = make_model(), batch_of(data)
    options = {"hessian_file": hessian_file, "log": [].append}
    own = PIWSL(model, squares, data, forces_weight=10.0, **options)
    stock = PIWSL(model, modules.WeightedEnergyForcesLoss(0.0, 10.0), data, **options)
    torch.testing.assert_close(own.loss(batch, own(batch)), stock.loss(batch, stock(batch)))
    with pytest.raises(RuntimeError, match="call it in place of the model"):
        own.loss(batch, model(batch.to_dict()))


def test_a_pool_that_teaches_nothing_is_refused(structures, pool_frames):
    """Forces are no labels of a loss of energies; a calculator's, and other keys, are not read."""
    data = [atomic_data(atoms) for atoms in structures]
    of_forces, of_others = ([atoms.copy() for atoms in pool_frames[:1]] for _ in range(2))
    del of_forces[0].info["REF_energy"]
    for name in ("energy", "forces"):
        container = of_others[0].info if name == "energy" else of_others[0].arrays
        container[f"dft_{name}"] = container.pop(f"REF_{name}")
    for loss, pool in ((EnergyLoss(), of_forces), (weighted_loss(), of_others)):
        with pytest.raises(SettingsError, match="no frame has a label that the loss reads"):
            PIWSL(make_model(), loss, data, pool=pool, pitc_weight=1.0)
    bare, lines = pool_frames[2:], []
    PIWSL(make_model(), weighted_loss(), data, pool=bare, pitc_weight=1.0, log=lines.append)
    assert "1 structures, 0 with labels" in lines[0]


def test_a_pool_has_the_precision_of_the_model(structures, pool_frames):
    model, loss = make_model().float(), weighted_loss().float()
    torch.set_default_dtype(torch.float32)
    try:
        batch = batch_of([atomic_data(atoms) for atoms in structures])
    finally:
        torch.set_default_dtype(torch.float64)
    data = [atomic_data(atoms) for atoms in structures]
    piwsl = PIWSL(model, loss, data, pool=pool_frames, pitc_weight=1.0, log=[].append)
    single = piwsl.loss(batch, piwsl(batch))
    piwsl = PIWSL(make_model(), weighted_loss(), data, pool=pool_frames, pitc_weight=1.0)
    double = piwsl.loss(batch_of(data), piwsl(batch_of(data)))
    assert single.item() == pytest.approx(double.item(), rel=1e-4)


def test_a_loop_without_the_loss_is_warned(structures):
    """Once; a loop that asks for it hears nothing."""
    batch = batch_of([atomic_data(atoms) for atoms in structures[:1]])
    for asks in (False, True):
        lines = []
        piwsl = PIWSL(make_model(), weighted_loss(), [], pitc_weight=1.0, log=lines.append)
        for _ in range(7):
            output = piwsl(batch)
            if asks:
                piwsl.loss(batch, output)
        assert sum("piwsl.loss was not called once" in line for line in lines) == (not asks)


def test_weights_of_zero_are_said(structures, hessian_file):
    data, lines = [atomic_data(atoms) for atoms in structures], []
    options = {"hessian_file": hessian_file, "log": lines.append}
    PIWSL(make_model(), weighted_loss(), data, hessian_weight=0.0, **options)
    assert lines == ["PIWSL: all weights are 0: this trains with the loss alone"]
    with pytest.raises(SettingsError, match="weight of the forces, which is 0 in this loss"):
        PIWSL(make_model(), modules.WeightedEnergyForcesLoss(1.0, 0.0), data, **options)


def test_objects_of_other_kinds_are_named(structures, pool_frames):
    model, loss, data = make_model(), weighted_loss(), [atomic_data(atoms) for atoms in structures]
    label = springs(structures[0])
    for match, given, options in [
        ("hessians: .* but this is NoneType as number 1", data, {"hessians": [label, None]}),
        ("hessians: .* but this is str", data, {"hessians": "hessians.npz"}),
        ("pool: a list of ase.Atoms is needed, but this is Atoms", data, {"pool": pool_frames[0]}),
        ("structures: the dataset .* but this is DataLoader", loader(data), {}),
    ]:
        with pytest.raises(TypeError, match=match):
            PIWSL(model, loss, given, **options)
    with pytest.raises(TypeError, match="give an object of it"):
        PIWSL(model, modules.WeightedEnergyForcesLoss, data)
    with pytest.raises(TypeError, match="compiled to TorchScript"):
        PIWSL(jit.compile(make_model()), loss, data)


def test_labels_of_a_head_without_structures_are_refused(structures):
    """Such as data that was made without the model's heads: it is all of the first."""
    energies = np.array([[-10.0, -50.0, -100.0]] * 2)
    model = make_model(
        heads=["a", "b"],
        atomic_energies=energies,
        atomic_inter_scale=[2.0, 2.0],
        atomic_inter_shift=[0.1, 0.1],
    )
    data = [atomic_data(atoms) for atoms in structures]
    with pytest.raises(SettingsError, match=r"no training structure is of a head .* \(b\), of 4"):
        PIWSL(model, weighted_loss(), data, hessians=[springs(structures[0])], heads="b")


REFUSED = {
    "none of its 3 labels belongs": {"hessian_file": "hessians.npz", "few": True},
    "there is no such option; did you mean 'pitc_weight'": {"pitc_wieght": 1.0},
    "here options have no prefix": {"piwsl_pitc_weight": 1.0},
    "allowed is a number of at least 0": {"pitc_weight": -1.0},
    "'pool_file' = 'no.xyz': there is no such file": {"pool_file": "no.xyz"},
    "your loop validates": {"hessian_valid_file": "hessians.npz"},
    "give this or hessians, not both": {"hessian_file": "hessians.npz", "hessians": []},
    "only the framework's own trainer": {"swa_pitc_weight": 1.0},
    "the model has Default only": {"heads": "other"},
}


@pytest.mark.parametrize("message", REFUSED)
def test_errors_are_those_of_the_options(message, structures, hessian_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = dict(REFUSED[message])
    data = [atomic_data(atoms) for atoms in structures[2 if options.pop("few", False) else 0 :]]
    with pytest.raises(SettingsError, match=message):
        PIWSL(make_model(), weighted_loss(), data, **options)


def step_of_rank(rank, hessian_file=None):
    """Gradients of a rank's half, or, without a rank, of all; only the first half has a label."""
    structures, model = frames("ethanol_gfn2_train", 4), make_model()
    options = {"hessian_file": hessian_file, "pitc_weight": 3.0, "log": lambda line: None}
    data = [atomic_data(atoms) for atoms in structures]
    called, some = model, structures
    if rank is not None:
        called = torch.nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
        some = structures[2 * rank : 2 * rank + 2]
    piwsl = PIWSL(called, weighted_loss(), data, **options)
    batch = batch_of([atomic_data(atoms) for atoms in some])
    piwsl.loss(batch, piwsl(batch, 1)).backward()
    return {**gradients(model), "hessian": piwsl.end_epoch().means["hessian_rms"]}


def test_a_loader_may_prepare_the_steps(structures, hessian_file, pool_frames):
    """In the context alone, and the loss is the same."""
    data, model = [atomic_data(atoms) for atoms in structures], make_model()
    options = {"hessian_file": hessian_file, "pool": pool_frames, "log": [].append}
    batches, collate = loader(data, 4), loader(data, 4).collate_fn
    values = []
    for prepares in (False, True):
        piwsl = PIWSL(model, weighted_loss(), data, pitc_weight=1.0, **options)
        with piwsl.loading(batches) if prepares else contextlib.nullcontext():
            for batch in batches:
                assert (STRUCTURES in batch.to_dict()) == prepares
                values.append(piwsl.loss(batch, piwsl(batch)))
    assert type(batches.collate_fn) is type(collate)
    torch.testing.assert_close(*values, rtol=1e-13, atol=0.0)


@pytest.mark.slow
def test_two_ranks_give_the_gradients_of_one(hessian_file, tmp_path):
    """Of the whole batch, where only the structures of one rank have labels."""
    found = on_two_ranks(tmp_path, step_of_rank, str(hessian_file))
    expected = step_of_rank(None, str(hessian_file))
    for of_rank in found:
        for name, value in expected.items():
            torch.testing.assert_close(
                torch.as_tensor(of_rank[name]), torch.as_tensor(value), rtol=1e-9, atol=1e-11
            )
