"""The softening guard in Lightning's trainer, on a model whose forces are halved on the way."""

from __future__ import annotations

import copy

import ase.io
import lightning
import pytest
import torch
from nequip.data.datamodule import ASEDataModule
from nequip.train import EMALightningModule

from . import reference
from .conftest import NEQUIP_MODEL, TYPE_NAMES

R_MAX = 3.0


class HalveForces(lightning.Callback):
    """Halves the energy scale before the second epoch."""

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 1:
            with torch.no_grad():
                for name, scales in module.model.named_parameters():
                    if name.endswith("scales"):
                        scales.mul_(0.5)
                for number, parameter in enumerate(module.model.parameters()):
                    module.ema.ema_weights[number].copy_(parameter)


def train(tmp_path, frames, guard, **options):
    """Three epochs with labels that the model itself gives, but for one frame without."""
    model = {**copy.deepcopy(NEQUIP_MODEL), "per_type_energy_scales_trainable": True}
    module = EMALightningModule(
        model=model,
        num_datasets={"train": 1, "val": 1, "test": 0, "predict": 0},
        optimizer={"_target_": "torch.optim.SGD", "lr": 0.0},
        loss={
            "_target_": "piwsl_plugins.nequip.PIWSLLoss",
            "coeffs": {"total_energy": 1.0},
            "softening_guard": guard,
            **options,
        },
        val_metrics={"_target_": "nequip.train.EnergyOnlyMetrics"},
    )
    written = []
    for index, atoms in enumerate(frames):
        atoms = atoms.copy()
        data = reference.as_data(atoms, TYPE_NAMES)
        _, forces = reference.evaluate(module.model["sole_model"].eval(), data, 0.0, R_MAX)
        atoms.arrays["REF_forces"] = forces.detach().numpy()
        if index == 1:
            atoms.arrays["REF_forces"][:] = float("nan")
        written.append(atoms)
    module.model.train()
    ase.io.write(tmp_path / "frames.xyz", written)
    data = ASEDataModule(
        seed=0,
        train_file_path=str(tmp_path / "frames.xyz"),
        val_file_path=str(tmp_path / "frames.xyz"),
        key_mapping=reference.KEYS,
        transforms=[
            {
                "_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
                "model_type_names": TYPE_NAMES,
            },
            {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": R_MAX},
        ],
        train_dataloader={"batch_size": 2},
        val_dataloader={"batch_size": 2},
    )
    slopes = []

    class Keep(lightning.Callback):
        def on_train_epoch_end(self, trainer, module):
            slopes.append(trainer.callback_metrics.get("val_epoch/force_slope"))

    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=3,
        callbacks=[HalveForces(), Keep()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        inference_mode=False,
    )
    trainer.fit(module, datamodule=data)
    return [slope if slope is None else float(slope) for slope in slopes]


def test_guard(mixed_frames, tmp_path, caplog):
    slopes = train(tmp_path, mixed_frames[:3], "warn")
    assert slopes == pytest.approx([1.0, 0.5, 0.5], rel=1e-6)
    warnings = [r.message for r in caplog.records if "gets too soft" in r.message]
    assert len(warnings) == 1


@pytest.mark.parametrize("options", [{"softening_guard": "off"}, {"pitc_weight": 0.0}])
def test_not_looked_at(options, mixed_frames, tmp_path):
    slopes = train(tmp_path, mixed_frames[:1], options.pop("softening_guard", "warn"), **options)
    assert slopes == [None] * 3
