"""Whole training steps against a slow reference of one frame at a time."""

from __future__ import annotations

import copy
import functools
import itertools

import ase.io
import lightning
import pytest
import torch
from hydra.utils import get_method
from nequip.data.datamodule import ASEDataModule
from nequip.train import NequIPLightningModule

from piwsl_plugins.core.settings import Settings
from piwsl_plugins.nequip import PIWSLLoss, evaluation
from piwsl_plugins.nequip.evaluation import DisplacedEvaluation, Moment

from . import reference
from .conftest import MODELS, TYPE_NAMES

R_MAX = 3.0
COEFFS = {"total_energy": 1.0, "forces": 3.0}


def build(name, **changes):
    config = {**copy.deepcopy(MODELS[name]), **changes}
    return get_method(config.pop("_target_"))(**config)


def gradients(model, value):
    model.zero_grad(set_to_none=True)
    value.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def error(found, expected):
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize(
    ("name", "pisc_weight", "backend", "join_edges"),
    [
        *itertools.product(MODELS, (0.0, 50.0), ("eager",), (evaluation.JOIN_EDGES,)),
        ("nequip", 0.0, "aot_eager", 0),
        ("allegro", 0.0, "aot_eager", 0),
        ("allegro", 50.0, "aot_eager", 0),
        ("allegro", 50.0, "aot_eager", evaluation.JOIN_EDGES),
        ("nequip", 50.0, "inductor", 0),
    ],
)
def test_a_step_of_lightnings_trainer(
    name, pisc_weight, backend, join_edges, mixed_frames, tmp_path, monkeypatch
):
    """SGD with a learning rate of 1 moves the parameters by the gradient.

    NequIP compiles with inductor, which takes a minute here; "aot_eager" goes the same way but
    for the last part, the generation of machine code, so that one case of that is enough.
    """
    monkeypatch.setattr(evaluation, "JOIN_EDGES", join_edges)
    compile_mode = "eager" if backend == "eager" else "compile"
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    ase.io.write(tmp_path / "train.xyz", mixed_frames)
    weights = {"pitc_weight": 2e3, "pisc_weight": pisc_weight, "seed": 11}
    module = NequIPLightningModule(
        model={**copy.deepcopy(MODELS[name]), "compile_mode": compile_mode},
        num_datasets={"train": 1, "val": 1, "test": 0, "predict": 0},
        optimizer={"_target_": "torch.optim.SGD", "lr": 1.0},
        loss={"_target_": "piwsl_plugins.nequip.PIWSLLoss", "coeffs": COEFFS, **weights},
        val_metrics={"_target_": "nequip.train.EnergyForceMetrics"},
    )
    mapper = "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper"
    data = ASEDataModule(
        seed=0,
        train_file_path=str(tmp_path / "train.xyz"),
        val_file_path=str(tmp_path / "train.xyz"),
        key_mapping=reference.KEYS,
        transforms=[
            {"_target_": mapper, "model_type_names": TYPE_NAMES},
            {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": R_MAX},
        ],
        train_dataloader={"batch_size": len(mixed_frames)},
    )
    before = build(name)
    before.load_state_dict(module.model["sole_model"].state_dict())
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=1,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        inference_mode=False,
    )
    trainer.fit(module, datamodule=data)
    settings = Settings.create(weights)
    written = ase.io.read(tmp_path / "train.xyz", ":")
    expected = reference.loss(before, written, settings, TYPE_NAMES, R_MAX, COEFFS, seed=11)
    expected_gradient = gradients(before, expected)
    after = dict(module.model["sole_model"].named_parameters())
    found = torch.cat([(p - after[key]).detach().flatten() for key, p in before.named_parameters()])
    assert error(found, expected_gradient) < 1e-12
    without = Settings.create({**weights, "pitc_weight": 0.0, "pisc_weight": 0.0})
    base = reference.loss(before, written, without, TYPE_NAMES, R_MAX, COEFFS)
    assert error(gradients(before, base), expected_gradient) > 1e-3  # the terms are felt


@pytest.mark.parametrize(
    "options",
    [
        {"pisc_weight": 1.0, "pisc_vertex": "extrapolated"},
        {"pisc_weight": 1.0, "pisc_vertex": "waypoint"},
        {"pisc_weight": 1.0, "pisc_vertex": "origin"},
        {"pisc_weight": 1.0, "pisc_vertex": "all", "displacement": "one_sided"},
        {"pitc_weight": 0.0, "pisc_weight": 1.0, "metric": "mae"},
        {"metric": "huber", "huber_delta": 0.001, "normalization": "total"},
        {"anchor": "label", "displacement": "gaussian", "displaced_fraction": 0.4},
        {"displacement": "adversarial", "pisc_weight": 0.3, "max_displacement": 0.1},
        {"preset": "paper"},
    ],
    ids=lambda options: ",".join(f"{name}={value}" for name, value in options.items()),
)
@pytest.mark.parametrize("join", [False, True])
def test_options(options, join, mixed_frames):
    frames = [atoms for atoms in mixed_frames if len(atoms) < 30]
    model = build("nequip")
    settings = Settings.create({"pitc_weight": 2.0, **options})
    loss = PIWSLLoss(coeffs=COEFFS, **{"pitc_weight": 2.0, **options})
    attached = DisplacedEvaluation(model, loss, seed=5, schedule=lambda: Moment(7, 1.0), join=join)
    batch = reference.as_batch(frames, TYPE_NAMES, R_MAX)
    found = loss(model(batch.copy()), batch)["weighted_sum"]
    found_gradient = gradients(model, found)
    attached.remove()
    expected = reference.loss(model, frames, settings, TYPE_NAMES, R_MAX, COEFFS, seed=5, epoch=7)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    assert error(found_gradient, gradients(model, expected)) < 1e-12


@pytest.mark.parametrize(("limit", "sizes"), [("at", [2]), ("below", [1, 1])])
def test_small_batches_are_joined(limit, sizes, mixed_frames, monkeypatch):
    """In one call of twice the frames; above the limit in two calls."""
    batch = reference.as_batch(mixed_frames[:1], TYPE_NAMES, R_MAX)
    n_edges = batch["edge_index"].shape[1]
    monkeypatch.setattr(evaluation, "JOIN_EDGES", n_edges - (limit == "below"))
    model, calls = build("nequip"), []
    forward = model.forward

    def counted(data):
        calls.append(len(data["num_atoms"]))
        return forward(data)

    monkeypatch.setattr(model, "forward", counted)
    loss = PIWSLLoss(coeffs=COEFFS, pitc_weight=0.0, pisc_weight=1.0, pisc_vertex="origin")
    DisplacedEvaluation(model, loss, seed=5, schedule=lambda: Moment(0, 1.0))
    model(batch.copy())
    assert calls == sizes
