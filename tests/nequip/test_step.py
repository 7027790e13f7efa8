"""Whole steps of Lightning's trainer against the slow reference of the conformance suite."""

from __future__ import annotations

import copy
import functools

import ase.io
import lightning
import pytest
import torch
from nequip.data.datamodule import ASEDataModule
from nequip.train import NequIPLightningModule

from piwsl_plugins.labels.hessian_labels import write_labels
from piwsl_plugins.nequip import host, structures
from piwsl_plugins.options.settings import Settings
from piwsl_plugins.testing.hessians import labels_of
from piwsl_plugins.testing.reference import Reference
from piwsl_plugins.testing.steps import gradients

from ..recorded import calls_of
from . import reference
from .conftest import DATA, MODELS, TYPE_NAMES
from .test_host import R_MAX, NequIPFramework

E_F = {"total_energy": 1.0, "forces": 3.0}
E = {"total_energy": 2.0}
SMALL = host.JOIN_EDGES
CONSISTENCY = {"pitc_weight": 2e3, "pisc_weight": 50.0}
HESSIAN = {"hessian_file": "labels.npz", "hessian_weight": 0.5}
POOL = {"pool_file": "pool.xyz", "pool_per_batch": 3, "pool_weight": 0.7}

CASES = {
    "pitc": ("nequip", E_F, {"pitc_weight": 2e3}, "eager", SMALL),
    "pitc and pisc": ("allegro", E_F, CONSISTENCY, "eager", SMALL),
    "hessian": ("nequip", E_F, HESSIAN, "eager", SMALL),
    "hessian by default": ("nequip", E_F, {"hessian_file": "labels.npz"}, "eager", 0),
    "symmetric": ("nequip", E_F, {**HESSIAN, "hessian_form": "symmetric"}, "eager", SMALL),
    "of energies": ("allegro", E, {**HESSIAN, **POOL, "hessian_form": "energies"}, "eager", SMALL),
    "pool": ("nequip", E_F, {**POOL, "pitc_weight": 0.0}, "eager", SMALL),
    "all": ("nequip", E_F, {**CONSISTENCY, **HESSIAN, **POOL}, "eager", SMALL),
    "compiled": ("allegro", E_F, {**CONSISTENCY, **HESSIAN, **POOL}, "aot_eager", SMALL),
    "compiled, energies": ("allegro", E, {**POOL, "pitc_weight": 2e3}, "aot_eager", SMALL),
    "inductor": ("nequip", E_F, {**CONSISTENCY, **HESSIAN}, "inductor", 0),
}


def supervised(framework, structures, coeffs):
    """The weighted supervised loss; labels that are absent are left out."""
    errors = {name: [] for name in coeffs}
    for atoms in structures:
        data = reference.as_data(atoms, TYPE_NAMES)
        energy, forces = framework.alone(atoms)
        weight = atoms.info.get("weight", 1.0)
        per_atom = (energy - data["total_energy"].view(())) / len(atoms)
        errors["total_energy"].append(weight * per_atom.square().view(1))
        if "forces" in coeffs and not data["forces"].isnan().any():
            errors["forces"].append(weight * (forces - data["forces"]).square().flatten())
    total = sum(coeffs[name] * torch.cat(values).mean() for name, values in errors.items())
    return total / sum(coeffs.values())


def expected_loss(framework, structures, pool, labels, settings, coeffs):
    """The value of one step's loss, coefficients normalised as documented."""
    total = supervised(framework, structures, coeffs)
    if pool and settings.pool.pool_weight:
        total = total + settings.pool.pool_weight * supervised(framework, pool, coeffs)
    slow, found = Reference(framework, settings, seed=11, epoch=0), {}
    for atoms in [*structures, *pool]:
        for name, penalties in slow.terms([atoms], labels).items():
            weight = atoms.info.get("weight", 1.0)
            found.setdefault(name, []).append(weight * penalties)
    weights = {
        "pitc": settings.consistency.pitc_weight,
        "pisc": settings.consistency.pisc_weight,
        "hessian": settings.hessian.hessian_weight,
    }
    for name, penalties in found.items():
        if weights[name]:
            total = total + weights[name] * torch.cat(penalties).mean() / sum(coeffs.values())
    return total


def gradient(framework, value):
    return torch.cat([g.flatten() for g in gradients(framework, [value])])


def written(path, structures):
    ase.io.write(path, structures)
    return ase.io.read(path, ":")


@pytest.fixture
def files(tmp_path, mixed_frames):
    """Training frames, a pool with weights and one structure without forces, Hessian labels."""
    hot = ase.io.read(DATA / "ethanol_gfn2_hot.xyz", ":3")
    for atoms, weight in zip(hot, (0.5, 2.0, 1.0)):
        atoms.info["weight"] = weight
    del hot[1].arrays["REF_forces"]
    frames = written(tmp_path / "train.xyz", mixed_frames)
    pool = written(tmp_path / "pool.xyz", hot)
    labels = labels_of([frames[0], frames[2], pool[0], pool[1]])
    write_labels(tmp_path / "labels.npz", labels, "random numbers")
    return frames, pool, labels


def training(
    model, coeffs, options, batch_size, n_workers=0, transforms=(), learning_rate=1.0, **limits
):
    """NequIP's module, Lightning's trainer, and NequIP's data in the current folder."""
    module = NequIPLightningModule(
        model=model,
        num_datasets={"train": 1, "val": 1, "test": 0, "predict": 0},
        optimizer={"_target_": "torch.optim.SGD", "lr": learning_rate},
        loss={
            "_target_": "piwsl_plugins.nequip.PIWSLLoss",
            "coeffs": coeffs,
            "seed": 11,
            **options,
        },
        val_metrics={"_target_": "nequip.train.EnergyOnlyMetrics"},
    )
    mapper = "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper"
    data = ASEDataModule(
        seed=0,
        train_file_path="train.xyz",
        val_file_path="train.xyz",
        key_mapping=reference.KEYS,
        transforms=[
            *transforms,
            {"_target_": mapper, "model_type_names": TYPE_NAMES},
            {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": R_MAX},
        ],
        train_dataloader={"batch_size": batch_size, "num_workers": n_workers},
    )
    trainer = lightning.Trainer(
        accelerator="cpu",
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        inference_mode=False,
        **{"limit_val_batches": 0, **limits},
    )
    return module, trainer, data


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[pytest.mark.slow] * (backend != "eager"))
        for case, (*_, backend, _) in CASES.items()
    ],
)
def test_a_step_of_lightnings_trainer(case, files, tmp_path, monkeypatch):
    """SGD with a learning rate of 1 moves the parameters by the gradient.

    NequIP compiles with inductor, which takes half a minute for one layer; "aot_eager" goes the
    same way but for the last part, the generation of machine code, so that one case is enough.
    """
    name, coeffs, options, backend, join_edges = CASES[case]
    frames, pool, labels = files
    pool = pool if "pool_file" in options else []
    labels = labels if "hessian_file" in options else []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(host, "JOIN_EDGES", join_edges)
    compile_mode = "eager" if backend == "eager" else "compile"
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    made = MODELS[name] | ({"num_layers": 1} if backend == "inductor" else {})
    model = {**copy.deepcopy(made), "compile_mode": compile_mode}
    module, trainer, data = training(model, coeffs, options, len(frames), max_steps=1)
    framework = NequIPFramework(made, made["seed"])
    framework.model.load_state_dict(module.model["sole_model"].state_dict())
    trainer.fit(module, datamodule=data)
    forces_weight = coeffs.get("forces", 0.0)
    settings = Settings.create(options).decided("forces" in coeffs, forces_weight)
    wanted = expected_loss(framework, frames, pool, labels, settings, coeffs)
    wanted_gradient = gradient(framework, wanted)
    after = dict(module.model["sole_model"].named_parameters())
    before = framework.model.named_parameters()
    found = torch.cat([(p - after[key]).detach().flatten() for key, p in before])
    error = float((found - wanted_gradient).norm() / wanted_gradient.norm())
    assert error < (1e-9 if labels else 1e-12)
    base = gradient(framework, supervised(framework, frames, coeffs))
    assert (base - wanted_gradient).norm() > 1e-3 * wanted_gradient.norm()  # the terms are felt


@pytest.mark.parametrize("pitc_weight", [1e-3, 0.0])
@pytest.mark.parametrize("n_workers", [0, 2])
def test_neighbours_are_looked_for_where_data_is_loaded(
    n_workers, pitc_weight, files, tmp_path, monkeypatch
):
    """Once per structure; with workers not in the training process at all.

    Nor for probes, which move atoms further than Hessians do.
    """
    frames, pool, labels = files
    monkeypatch.chdir(tmp_path)
    searches = calls_of(monkeypatch, structures, "search")
    described = calls_of(monkeypatch, host.Describe, "__call__")
    options = {**POOL, **HESSIAN, "pitc_weight": pitc_weight}
    limits = {"max_epochs": 3, "limit_train_batches": 2}
    module, trainer, data = training(MODELS["nequip"], E_F, options, 3, n_workers, **limits)
    make, before = data.train_dataloader, vars(module.model["sole_model"]).copy()
    trainer.fit(module, datamodule=data)
    carrying = [atoms for atoms in [*frames, *pool] if len(atoms) > 1] if pitc_weight else labels
    searched = [positions.tobytes() for positions, *_ in searches]
    if n_workers:
        assert not searched and not described
    else:
        assert len(searched) == len(set(searched)) == len(carrying)
        assert len(described) == 3 * 2 * 2  # batches of training data and of the pool
    # as if we had not been there
    assert data.train_dataloader == make and "train_dataloader" not in vars(data)
    model = module.model["sole_model"]
    assert vars(model).keys() == before.keys() and module.loss.engine is None
    assert not model._forward_hooks and not model._forward_pre_hooks
