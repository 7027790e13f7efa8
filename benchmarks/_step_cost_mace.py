"""MACE's part of ``step_cost.py``: a step is an epoch of one batch in ``train_one_epoch``."""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Callable, Iterator

import ase
import mace  # noqa: F401  sets a variable without which e3nn 0.4.4 does not load
import numpy as np
import torch
from e3nn import o3
from mace import data, modules, tools
from mace.tools import torch_geometric

from piwsl_plugins.core.settings import Settings
from piwsl_plugins.mace import displaced, hooks, transforms
from piwsl_plugins.mace.energy_loss import EnergyLoss
from piwsl_plugins.mace.loss import PIWSLLoss
from piwsl_plugins.mace.reference import Reference
from piwsl_plugins.mace.sources import Sources

DISTRIBUTIONS = {"mace": ("mace-torch",)}
R_MAX = 5.0
#: what PIWSL runs outside the model
OUTSIDE_THE_MODEL = (
    (displaced, "Structures"),
    (displaced._DisplacedCall, "_draw"),
    (displaced._DisplacedCall, "enlarged"),
    (displaced, "keep_first"),
    (transforms.Structures, "keys"),
    (transforms.Structures, "displaced"),
)


def make_model(numbers: list[int], channels: int) -> torch.nn.Module:
    """A small MACE with the default depth, body order and cutoff of ``mace_run_train``."""
    torch.manual_seed(0)
    return modules.ScaleShiftMACE(
        r_max=R_MAX,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=modules.RealAgnosticResidualInteractionBlock,
        interaction_cls_first=modules.RealAgnosticResidualInteractionBlock,
        num_interactions=2,
        num_elements=len(numbers),
        hidden_irreps=o3.Irreps(f"{channels}x0e + {channels}x1o"),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(len(numbers)),
        avg_num_neighbors=40.0,
        atomic_numbers=numbers,
        correlation=3,
        gate=torch.nn.functional.silu,
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )


class NoLogger:
    """Stands for MACE's results file."""

    def log(self, entry: dict) -> None:
        """Drop the entry."""


class Training:
    """A model, its optimiser and one batch."""

    def __init__(
        self,
        framework: str,
        frames: list[ase.Atoms],
        channels: int,
        dtype: str,
        device: torch.device,
    ) -> None:
        hooks.activate()
        torch.set_default_dtype(getattr(torch, dtype))
        numbers = sorted({int(z) for atoms in frames for z in atoms.numbers})
        keys = data.KeySpecification.from_defaults()
        dataset = [
            data.AtomicData.from_config(
                data.config_from_atoms(atoms, key_specification=keys),
                z_table=tools.AtomicNumberTable(numbers),
                cutoff=R_MAX,
            )
            for atoms in frames
        ]
        self.device = device
        self.loader = torch_geometric.dataloader.DataLoader(dataset, batch_size=len(frames))
        self.model = make_model(numbers, channels).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-5)

    @contextlib.contextmanager
    def steps(self, settings: Settings) -> Iterator[Callable[[int], None]]:
        """Gives the function that trains one step of an epoch with these settings."""
        energies_alone = settings.base_loss == "energy"
        base = EnergyLoss() if energies_alone else modules.WeightedEnergyForcesLoss(1.0, 100.0)
        loss = PIWSLLoss(base, settings.with_form(base_uses_forces=not energies_alone))
        if settings.needs_reference():
            reference = Reference(copy.deepcopy(self.model), "copy")
            self.loader.piwsl_sources = Sources(reference=reference)
        else:
            self.loader.piwsl_sources = Sources()
        train_one_epoch = sys.modules["mace.tools.train"].train_one_epoch

        def step(epoch: int) -> None:
            train_one_epoch(
                model=self.model,
                loss_fn=loss,
                data_loader=self.loader,
                optimizer=self.optimizer,
                epoch=epoch,
                output_args={"forces": True, "virials": False, "stress": False},
                max_grad_norm=10.0,
                ema=None,
                logger=NoLogger(),
                device=self.device,
                distributed=False,
            )

        yield step
