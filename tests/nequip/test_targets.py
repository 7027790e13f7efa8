"""Forms and targets of PITC, the pool and the automatic weight, against a slow reference."""

from __future__ import annotations

from types import SimpleNamespace

import ase
import ase.io
import numpy as np
import pytest
import torch

from piwsl_plugins.core import curvature
from piwsl_plugins.core.settings import Settings, SettingsError
from piwsl_plugins.nequip import PIWSLLoss
from piwsl_plugins.nequip.config import check, check_files
from piwsl_plugins.nequip.curvature import FrameLabels, frame_labels
from piwsl_plugins.nequip.evaluation import DisplacedEvaluation, Moment
from piwsl_plugins.nequip.pool import Pool
from piwsl_plugins.nequip.reference import FrozenModel, frozen_models

from . import reference
from .conftest import TYPE_NAMES
from .test_step import build, error, gradients

R_MAX = 3.0
COEFFS = {"energies": {"total_energy": 2.0}, "forces": {"total_energy": 1.0, "forces": 3.0}}
#: the frozen model differs in everything that it may
OTHER = {
    "type_names": ["O", "N", "H", "C"],
    "r_max": 3.4,
    "seed": 8,
    "per_type_energy_scales": 30.0,
    "per_type_energy_shifts": {"C": -1.0, "H": -2.0, "O": -3.0, "N": -4.0},
}
NOW = Moment(epoch=7, factor=1.0, step=4, batch=3)


@pytest.fixture(scope="module")
def files(mixed_frames, tmp_path_factory):
    """A file with curvature labels of all frames but the second, and a pool of structures."""
    directory = tmp_path_factory.mktemp("files")
    generator = np.random.default_rng(0)
    labels = []
    for index, atoms in enumerate([*mixed_frames, *pool_frames(mixed_frames)]):
        n = len(atoms)
        if index == 1:
            continue
        if index == 0:
            fields = generator.uniform(-0.05, 0.05, (3, n, 3))
            known = {"displacements": fields, "curvatures": generator.normal(0.01, 0.005, 3)}
        else:
            root = generator.normal(size=(3 * n, 3 * n))
            known = {"hessian": root @ root.T}
        labels.append(curvature.CurvatureLabel(atoms.numbers, atoms.positions, **known))
    curvature.write_labels(directory / "labels.npz", labels, "random numbers")
    ase.io.write(directory / "pool.xyz", pool_frames(mixed_frames))
    return directory


def pool_frames(frames):
    """Rattled copies of frames, with labels that nobody may look at."""
    made = []
    for seed, atoms in enumerate(frames[:3]):
        moved = atoms.copy()
        moved.positions = np.round(moved.positions + 0.05 * seed, 6)
        moved.info["REF_energy"] = 1e9
        made.append(moved)
    return made


def step(name, options, coeffs, frames, files, join=None, **changes):
    """Loss and gradient of a step, and the slow reference's."""
    model = build(name, **changes)
    given = {"pitc_weight": 50.0, **options}
    if "curvature" in given.values():
        given["curvature_file"] = str(files / "labels.npz")
    if "unlabeled_file" in given:
        given["unlabeled_file"] = str(files / "pool.xyz")
    loss = PIWSLLoss(coeffs=coeffs, **given)
    settings = loss.settings
    given_to_hooks, given_to_reference = {}, {}
    frozen = build("nequip", **OTHER)
    if settings.needs_reference():
        given_to_hooks["reference"] = FrozenModel(build("nequip", **OTHER), TYPE_NAMES)
        given_to_reference["frozen"] = (frozen, OTHER["type_names"], OTHER["r_max"])
    pooled = []
    if settings.unlabeled_file:
        pool = Pool(settings, TYPE_NAMES, seed=5)
        given_to_hooks["pool"] = pool
        every = ase.io.read(files / "pool.xyz", ":")
        chosen = pool.batch(NOW.batch, torch.device("cpu"))["pos"]
        pooled = given_to_reference["pool"] = [
            atoms for atoms in every if any((row == chosen).all(1).any() for row in first(atoms))
        ]
        assert len(pooled) == settings.unlabeled_per_batch
    if settings.pitc_target == "curvature":
        labels = given_to_hooks["labels"] = FrameLabels(settings.curvature_file, TYPE_NAMES)
        batch = reference.as_batch([*frames, *pooled], TYPE_NAMES, R_MAX)
        given_to_reference["labels"] = labels.find(batch)
    batch = reference.as_batch(frames, TYPE_NAMES, R_MAX)
    hooks = DisplacedEvaluation(model, loss, 5, lambda: NOW, join, **given_to_hooks)
    output = model(batch.copy())
    found = loss(output, batch)["weighted_sum"]
    found_gradient = gradients(model, found)
    hooks.remove()
    expected = reference.loss(
        model, frames, settings, TYPE_NAMES, R_MAX, coeffs, 5, NOW.epoch, **given_to_reference
    )
    assert found.item() == pytest.approx(expected.item(), rel=1e-11)
    assert error(found_gradient, gradients(model, expected)) < 1e-12
    # the terms are felt
    without = Settings.create({"pitc_weight": 0.0})
    base = reference.loss(model, frames, without, TYPE_NAMES, R_MAX, coeffs)
    assert error(gradients(model, base), found_gradient) > 1e-3
    return output, settings


def first(atoms):
    return torch.from_numpy(atoms.positions[:1])


CASES = {
    "symmetric": {"pitc_form": "symmetric", "pitc_weight": 3e5},
    "curvature": {"pitc_target": "curvature"},
    "curvature, first order": {"pitc_target": "curvature", "pitc_form": "first_order"},
    "reference": {"pitc_target": "reference", "pitc_weight": 3e5},
    "reference, pisc": {"pitc_target": "reference", "pitc_weight": 3e5, "pisc_weight": 1e5},
    "ceiling": {"pitc_target": "ceiling", "curvature_bound": 0.1, "pitc_weight": 3e5},
    "floor": {"pitc_target": "floor", "curvature_bound": 10.0, "pitc_weight": 1e3},
    "floor of a reference": {
        "pitc_target": "floor",
        "reference_model": "x.ckpt",
        "pitc_weight": 3e5,
    },
    "pool": {"unlabeled_file": "", "unlabeled_per_batch": 2, "pitc_weight": 3e5},
    "pool, curvature": {"unlabeled_file": "", "pitc_target": "curvature"},
}


@pytest.mark.parametrize("model", ["nequip", "allegro"])
@pytest.mark.parametrize("labels", COEFFS)
@pytest.mark.parametrize("case", CASES)
def test_steps(case, labels, model, mixed_frames, files):
    output, settings = step(model, CASES[case], COEFFS[labels], mixed_frames, files)
    free = labels == "energies" and settings.pitc_form == "symmetric"
    assert ("forces" in output) == (not free)


@pytest.mark.parametrize("case", ["symmetric", "curvature", "pool", "reference, pisc"])
@pytest.mark.parametrize("labels", COEFFS)
def test_steps_with_joined_calls(case, labels, mixed_frames, files):
    step("nequip", CASES[case], COEFFS[labels], mixed_frames, files, join=True)


def test_a_compiled_step(mixed_frames, files, monkeypatch):
    """One compiled graph without forces serves all three calls; labels do not pass for forces."""
    compiled = []

    def compile(graph, **keywords):
        compiled.append(graph)
        return graph

    monkeypatch.setattr(torch, "compile", compile)
    changes = {"compile_mode": "compile", "num_layers": 1}
    options, frames = CASES["symmetric"], mixed_frames[:2]
    output, _ = step("nequip", options, COEFFS["energies"], frames, files, **changes)
    assert "forces" not in output
    assert len(compiled) == 1  # NequIP does not compile for single frames, the slow reference


def hessian(model, atoms):
    """The model's own, ``(3n, 3n)`` in eV/Å², from its energy."""
    data = reference.as_batch([atoms], TYPE_NAMES, R_MAX)

    def energy(positions):
        moved = {**data, "pos": positions}
        return model.model.func({k: moved[k] for k in model.model_input_fields if k in moved})[
            "total_energy"
        ].sum()

    found = torch.autograd.functional.hessian(energy, data["pos"])
    return found.reshape(3 * len(atoms), -1).numpy()


def test_own_hessian_as_label_leaves_the_fourth_order(mixed_frames, tmp_path):
    atoms, model = mixed_frames[0], build("nequip")
    label = curvature.CurvatureLabel(atoms.numbers, atoms.positions, hessian(model, atoms))
    path = str(tmp_path / "own.npz")
    curvature.write_labels(path, [label], "the model itself")
    batch = reference.as_batch([atoms], TYPE_NAMES, R_MAX)
    sizes, found = (0.002, 0.004, 0.008), {"symmetric": [], "first_order": []}
    for form, residuals in found.items():
        for size in sizes:
            options = {"pitc_target": "curvature", "curvature_file": path, "pitc_form": form}
            loss = PIWSLLoss(**options, max_displacement=size)
            labels = FrameLabels(path, TYPE_NAMES)
            hooks = DisplacedEvaluation(model, loss, 1, lambda: NOW, labels=labels)
            residuals.append(abs(float(model(batch.copy())["piwsl_pitc"].detach())))
            hooks.remove()
    orders = {form: np.polyfit(np.log(sizes), np.log(r), 1)[0] for form, r in found.items()}
    assert orders["symmetric"] == pytest.approx(4, abs=0.1)
    assert orders["first_order"] == pytest.approx(3, abs=0.2)


@pytest.mark.parametrize("labels", COEFFS)
def test_a_model_that_is_its_own_reference_has_no_term(labels, mixed_frames):
    model = build("allegro")
    loss = PIWSLLoss(coeffs=COEFFS[labels], pitc_target="reference", pisc_weight=1.0)
    frozen = FrozenModel(build("allegro"), TYPE_NAMES)
    hooks = DisplacedEvaluation(model, loss, 1, lambda: NOW, reference=frozen)
    batch = reference.as_batch(mixed_frames, TYPE_NAMES, R_MAX)
    values = loss(model(batch.copy()), batch)
    hooks.remove()
    assert values["pitc"] < 1e-20 and values["pisc"] < 1e-20


def test_the_reference_is_frozen_and_no_part_of_the_model(mixed_frames):
    model, frozen = build("nequip"), FrozenModel(build("nequip", **OTHER), TYPE_NAMES)
    before = [parameter.clone() for parameter in frozen.model.parameters()]
    loss = PIWSLLoss(pitc_target="reference", pitc_weight=1e6)
    names = set(model.state_dict()), set(loss.state_dict())
    DisplacedEvaluation(model, loss, 1, lambda: NOW, reference=frozen)
    batch = reference.as_batch(mixed_frames, TYPE_NAMES, R_MAX)
    loss(model(batch.copy()), batch)["weighted_sum"].backward()
    for parameter, old in zip(frozen.model.parameters(), before):
        assert parameter.grad is None and torch.equal(parameter, old)
    assert (set(model.state_dict()), set(loss.state_dict())) == names


def test_auto_weight_is_the_ratio_of_gradients(mixed_frames):
    model, batch = build("nequip"), reference.as_batch(mixed_frames, TYPE_NAMES, R_MAX)
    loss = PIWSLLoss(pitc_weight="auto", auto_gradient_ratio=0.25, auto_interval=2)
    moment = NOW
    hooks = DisplacedEvaluation(model, loss, 1, lambda: moment)

    def norms():
        values = loss(model(batch.copy()), batch)
        base = 0.5 * values["per_atom_energy_mse"] + 0.5 * values["forces_mse"]
        weighted = values["weighted_sum"] - base
        parts = [float(gradients(model, part).norm()) for part in (base, weighted)]
        loss.end_step()
        return parts

    def gradients(model, value):
        found = torch.autograd.grad(
            value, list(model.parameters()), retain_graph=True, allow_unused=True
        )
        return torch.cat([g.flatten() for g in found if g is not None])

    base, term = norms()
    assert term == pytest.approx(0.25 * base, rel=1e-6)
    weight = loss.weights()["pitc"]
    assert loss.get_extra_state()["coeff_dict"]["pitc"] == weight
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.05)
    moment = NOW._replace(step=NOW.step + 1)
    base, term = norms()  # not yet due
    assert loss.weights()["pitc"] == weight
    assert abs(term / base - 0.25) > 1e-3
    restored = PIWSLLoss(pitc_weight="auto", auto_gradient_ratio=0.25, auto_interval=2)
    restored.load_state_dict(loss.state_dict())
    assert restored.weights() == loss.weights()
    assert not restored.auto.due(NOW.step + 1) and restored.auto.due(NOW.step + 2)
    moment = NOW._replace(step=NOW.step + 2)
    base, term = norms()
    assert term == pytest.approx(0.25 * base, rel=1e-6)
    hooks.remove()


def test_auto_weight_waits_for_a_frame_that_carries_the_term(mixed_frames):
    loss, model = PIWSLLoss(pitc_weight="auto"), build("nequip")
    hooks = DisplacedEvaluation(model, loss, 1, lambda: NOW)
    batch = reference.as_batch([mixed_frames[3]] * 2, TYPE_NAMES, R_MAX)  # isolated atoms
    assert loss(model(batch.copy()), batch)["weighted_sum"].isfinite()
    assert loss.weights() == {"pitc": 0.0}
    batch = reference.as_batch(mixed_frames, TYPE_NAMES, R_MAX)
    loss(model(batch.copy()), batch)
    assert loss.weights()["pitc"] > 0
    hooks.remove()


def test_force_labels_that_are_nan_are_counted_where_they_exist(mixed_frames):
    """A frame with energy alone beside a frame with forces; all carry the terms."""
    frames, model = mixed_frames[:3], build("nequip")
    batch = reference.as_batch(frames, TYPE_NAMES, R_MAX)
    batch["forces"][9:18] = torch.nan
    loss = PIWSLLoss(ignore_nan={"forces": True}, pitc_weight=50.0)
    assert loss.settings.pitc_form == "first_order"
    hooks = DisplacedEvaluation(model, loss, 1, lambda: NOW)
    output = model(batch.copy())
    values = loss(output, batch)
    hooks.remove()
    known = batch["forces"].isfinite()
    expected = (output["forces"] - batch["forces"])[known].square().mean()
    assert values["forces_mse"].item() == pytest.approx(expected.item(), rel=1e-12)
    assert output["piwsl_n_atoms"].tolist() == [9, 9, 24]
    assert gradients(model, values["weighted_sum"]).isfinite().all()


def test_energy_only_steps_without_terms_compute_no_forces_either(mixed_frames):
    model, loss = build("nequip"), PIWSLLoss(coeffs={"total_energy": 1.0}, start_epoch=3)
    batch = reference.as_batch(mixed_frames, TYPE_NAMES, R_MAX)
    expected = model(batch.copy())["total_energy"]
    hooks = DisplacedEvaluation(model, loss, 1, lambda: Moment(0, 0.0))
    output = model(batch.copy())
    assert torch.equal(output["total_energy"], expected) and "forces" not in output
    model.eval()  # validation
    assert "forces" in model(batch.copy())
    hooks.remove()
    model.train()
    wanted = DisplacedEvaluation(model, loss, 1, lambda: NOW, metrics_use_forces=True)
    assert "forces" in model(batch.copy())
    wanted.remove()


def test_a_failing_call_leaves_forces_switched_on(mixed_frames):
    model, loss = build("nequip"), PIWSLLoss(coeffs={"total_energy": 1.0})
    hooks = DisplacedEvaluation(model, loss, 1, lambda: NOW)
    batch = reference.as_batch(mixed_frames, TYPE_NAMES, R_MAX)
    with pytest.raises(IndexError):
        model({**batch, "atom_types": batch["atom_types"] + 50})
    hooks.remove()
    assert "forces" in model(batch)


def test_types_that_the_reference_or_the_model_does_not_know(tmp_path):
    with pytest.raises(SettingsError, match=r"'reference_model'.*type 'O'.*only C, H"):
        FrozenModel(build("nequip", type_names=["C", "H"], per_type_energy_shifts=0.0), TYPE_NAMES)
    ase.io.write(tmp_path / "pool.xyz", ase.Atoms("NH", [[0, 0, 0], [0, 0, 1]]))
    settings = Settings(unlabeled_file=str(tmp_path / "pool.xyz"))
    with pytest.raises(SettingsError, match=r"'unlabeled_file'.*element N.*C, H, O"):
        Pool(settings, TYPE_NAMES, 0)


def test_labels_without_atomic_numbers(mixed_frames, files):
    batch = reference.as_batch(mixed_frames, TYPE_NAMES, R_MAX)
    labels = FrameLabels(str(files / "labels.npz"), TYPE_NAMES)
    found = [label is not None for label in labels.find(batch)]
    assert found == [True, False, True, True, True]
    del batch["atomic_numbers"]
    assert [label is not None for label in labels.find(batch)] == found
    with pytest.raises(SettingsError, match=r"'curvature_file'.*type 'C1' is no element"):
        FrameLabels(str(files / "labels.npz"), ["C1", "H", "O"]).find(batch)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pitc_target": "curvature"}, r"'curvature_file' = None: .* needs curvature labels"),
        ({"curvature_file": "no.npz"}, r"'curvature_file'.* nothing uses it"),
        ({"unlabeled_file": "no.xyz", "anchor": "label"}, r"'unlabeled_file'.* anchor 'label'"),
        ({"pitc_target": "floor", "reference_model": "no.ckpt"}, r"'no.ckpt': there is no such"),
    ],
)
def test_options_that_cannot_be_used(options, message):
    with pytest.raises(SettingsError, match=message):
        check_files(check(options))


def test_labels_and_references_that_cannot_be_used(mixed_frames, files, tmp_path):
    data = [reference.as_data(atoms, TYPE_NAMES) for atoms in mixed_frames]
    path = str(files / "labels.npz")
    settings = Settings(pitc_target="curvature", curvature_file=path)

    def labels_for(data, pool=()):
        trainer = SimpleNamespace(datamodule=SimpleNamespace(train_dataset=[data]))
        return frame_labels(settings, TYPE_NAMES, trainer, list(pool))

    assert labels_for(data).n_labels == 7
    with pytest.raises(SettingsError, match=r"'curvature_file'.* none of its 7 labels .* 1 train"):
        labels_for(data[1:2])
    with pytest.raises(SettingsError, match=r"'unlabeled_file'.* curvature label"):
        labels_for(data, data[1:2])
    module = SimpleNamespace(hparams={"model": {"_target_": "nequip.model.NequIPGNNModel"}})
    with pytest.raises(SettingsError, match=r"'reference_model' = None: .* not a pretrained one"):
        frozen_models(Settings(pitc_target="reference"), module)
    for name, problem in (("a.model", "allowed is a package"), ("a.ckpt", "no such file")):
        settings = Settings(pitc_target="reference", reference_model=name)
        with pytest.raises(SettingsError, match=rf"'reference_model' = '{name}': .*{problem}"):
            frozen_models(settings, module)
    broken = tmp_path / "broken.ckpt"
    broken.write_text("no checkpoint")
    settings = Settings(pitc_target="reference", reference_model=str(broken))
    with pytest.raises(SettingsError, match=r"'reference_model'.* NequIP can load"):
        frozen_models(settings, module)
