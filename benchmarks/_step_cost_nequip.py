"""NequIP's and Allegro's part of ``step_cost.py``.

A step is what NequIP's Lightning module and the optimiser do with a batch: model, loss,
backward pass, Adam. What Lightning itself adds, the same for every loss, is left out.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator

import ase
import torch
from nequip.data import AtomicDataDict, compute_neighborlist_, from_ase
from nequip.model import NequIPGNNModel
from nequip.train import EnergyForceLoss, EnergyOnlyLoss
from nequip.utils.global_state import set_global_state

from piwsl_plugins.core.settings import Settings, options
from piwsl_plugins.nequip import PIWSLLoss, evaluation, frames
from piwsl_plugins.nequip.reference import FrozenModel
from piwsl_plugins.nequip.report import Report

DISTRIBUTIONS = {"nequip": ("nequip",), "allegro": ("nequip", "nequip-allegro")}
R_MAX = 5.0
KEYS = {"REF_energy": "total_energy", "REF_forces": "forces"}
#: what PIWSL runs outside the model
OUTSIDE_THE_MODEL = (
    (evaluation, "Frames"),
    (evaluation._Group, "_draw"),
    (evaluation._DisplacedCall, "enlarged"),
    (evaluation, "keep_first"),
    (frames.Frames, "keys"),
    (frames.Frames, "displaced"),
)


def make_model(framework: str, type_names: list[str], channels: int, dtype: str) -> torch.nn.Module:
    """A small NequIP of three layers, or a small Allegro of two, both with l = 1."""
    common = {
        "seed": 0,
        "model_dtype": dtype,
        "type_names": type_names,
        "r_max": R_MAX,
        "avg_num_neighbors": 30.0,
        "l_max": 1,
        "compile_mode": "eager",
    }
    if framework == "nequip":
        return NequIPGNNModel(num_layers=3, parity=False, num_features=channels, **common)
    from allegro.model import AllegroModel

    return AllegroModel(
        num_layers=2,
        num_scalar_features=2 * channels,
        num_tensor_features=channels,
        radial_chemical_embed={
            "_target_": "allegro.nn.TwoBodyBesselScalarEmbed",
            "num_bessels": 8,
        },
        **common,
    )


def make_batch(frames: list[ase.Atoms], type_names: list[str]) -> AtomicDataDict.Type:
    """All frames in one batch, as NequIP's data modules make it."""
    found = []
    for atoms in frames:
        frame = from_ase(atoms, key_mapping=KEYS)
        types = [type_names.index(symbol) for symbol in atoms.get_chemical_symbols()]
        frame["atom_types"] = torch.tensor(types)
        found.append(compute_neighborlist_(frame, R_MAX))
    return AtomicDataDict.batched_from_list(found)


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
        set_global_state()
        type_names = sorted({symbol for atoms in frames for symbol in atoms.symbols})
        self.batch = AtomicDataDict.to_(make_batch(frames, type_names), device)
        self.model = make_model(framework, type_names, channels, dtype).to(device).train()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-5)

    @contextlib.contextmanager
    def steps(self, settings: Settings) -> Iterator[Callable[[int], None]]:
        """Gives the function that trains one step of an epoch with these settings.

        Displaced evaluation and report are attached as ``PIWSLCallback`` does it.
        """
        energies_alone = settings.base_loss == "energy"
        loss, attached, now = EnergyOnlyLoss() if energies_alone else EnergyForceLoss(), None, 0
        if settings.pitc_weight or settings.pisc_weight:
            coeffs = {"total_energy": 1.0} if energies_alone else None
            given = {name: getattr(settings, name) for name in options("nequip")}
            loss = PIWSLLoss(coeffs, **given)
            seed = settings.seed or 0
            reference = None
            if settings.needs_reference():
                frozen = copy.deepcopy(self.model)
                reference = FrozenModel(frozen, frozen.type_names).to(self.batch["pos"].device)
            attached = evaluation.DisplacedEvaluation(
                self.model,
                loss,
                seed,
                lambda: evaluation.Moment(now, 1.0),
                reference=reference,
            )
            loss.observers.append(Report(loss, seed, distributed=False).add_step)
        loss.to(self.batch["pos"].device)

        def step(epoch: int) -> None:
            nonlocal now
            now = epoch
            self.optimizer.zero_grad()
            values = loss(self.model(self.batch.copy()), self.batch)
            values["weighted_sum"].backward()
            self.optimizer.step()
            loss.reset()

        try:
            yield step
        finally:
            if attached is not None:
                attached.remove()
