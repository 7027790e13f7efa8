"""MACE's part of ``step_cost.py``: a step is an epoch of one batch in ``train_one_epoch``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ase
import mace  # noqa: F401  sets a variable without which e3nn 0.4.4 does not load
import numpy as np
import torch
from e3nn import o3
from mace import data, modules, tools
from mace.tools import torch_geometric
from step_cost import without_model, zero_hessians

from piwsl_plugins.mace import _hooks
from piwsl_plugins.mace.arguments import MaceSettings
from piwsl_plugins.mace.companions import Companions, keep
from piwsl_plugins.mace.host import Describe, MACEHost
from piwsl_plugins.mace.loss import EnergyLoss, PIWSLLoss
from piwsl_plugins.terms.neighbours import DisplacedEdges
from piwsl_plugins.terms.step import Selection
from piwsl_plugins.terms.term_table import terms_of

R_MAX = 5.0
#: what PIWSL runs outside the model
OUTSIDE_THE_MODEL = (
    (Selection, "__init__"),
    (DisplacedEdges, "at"),
    (Describe, "__call__"),
    *((MACEHost, name) for name in ("displaced", "join", "split")),
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


def zeros(batch: dict) -> dict[str, torch.Tensor]:
    """A model's output for a batch."""
    energy = torch.zeros_like(batch["energy"])
    forces = torch.zeros_like(batch["positions"])
    return {"energy": energy, "interaction_energy": energy, "forces": forces}


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
        _hooks.activate()
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
        self.companions = Companions(zero_hessians(frames))
        self.device = device
        self.loader = torch_geometric.dataloader.DataLoader(dataset, batch_size=len(frames))
        self.model = make_model(numbers, channels).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-5)

    @contextlib.contextmanager
    def steps(self, options: Mapping[str, Any]) -> Iterator[Callable[[int], None]]:
        """Gives the function that trains one step of an epoch with these options."""
        settings = MaceSettings.create({"seed": 0, **options})
        energies_alone = settings.mace.base_loss == "energy"
        base = EnergyLoss() if energies_alone else modules.WeightedEnergyForcesLoss(1.0, 100.0)
        loss = PIWSLLoss(base, settings.decided(not energies_alone, forces_weight=100.0))
        keep(self.loader, self.companions)
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

    def without_model(self, options: Mapping[str, Any]) -> Callable[[int], None]:
        """The function that does all of a step but what the model does."""
        settings = MaceSettings.create({"seed": 0, **options}).decided(True, 100.0)
        terms = terms_of(settings, self.companions.labels)
        loaded = next(iter(self.loader))
        on_device = loaded.clone().to(self.device).to_dict()
        return without_model(MACEHost(self.model), terms, loaded, on_device, zeros)
