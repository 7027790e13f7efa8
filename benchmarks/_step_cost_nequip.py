"""NequIP's and Allegro's part of ``step_cost.py``.

A step is what NequIP's Lightning module and the optimiser do with a batch: model, loss,
backward pass, Adam. What Lightning itself adds, the same for every loss, is left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ase
import torch
from nequip.data import AtomicDataDict, compute_neighborlist_, from_ase
from nequip.model import NequIPGNNModel
from nequip.train import EnergyForceLoss, EnergyOnlyLoss
from nequip.utils.global_state import set_global_state
from step_cost import without_model, zero_hessians

from piwsl_plugins.nequip import PIWSLLoss
from piwsl_plugins.nequip.epoch_log import training_log
from piwsl_plugins.nequip.host import Describe, NequIPHost
from piwsl_plugins.nequip.training import TrainingCalls
from piwsl_plugins.terms.neighbours import DisplacedEdges
from piwsl_plugins.terms.step import Selection
from piwsl_plugins.terms.term_table import terms_of
from piwsl_plugins.terms.training import Moment
from piwsl_plugins.terms.training import Training as PIWSLTraining

R_MAX = 5.0
KEYS = {"REF_energy": "total_energy", "REF_forces": "forces"}
#: what PIWSL runs outside the model
OUTSIDE_THE_MODEL = (
    (Selection, "__init__"),
    (DisplacedEdges, "at"),
    (Describe, "__call__"),
    *((NequIPHost, name) for name in ("displaced", "join", "split")),
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
    structures = []
    for atoms in frames:
        frame = from_ase(atoms, key_mapping=KEYS)
        types = [type_names.index(symbol) for symbol in atoms.get_chemical_symbols()]
        frame["atom_types"] = torch.tensor(types)
        structures.append(compute_neighborlist_(frame, R_MAX))
    return AtomicDataDict.batched_from_list(structures)


def zeros(batch: AtomicDataDict.Type) -> AtomicDataDict.Type:
    """A model's output for a batch."""
    energy = batch["pos"].new_zeros(len(batch["num_atoms"]), 1)
    return {"total_energy": energy, "forces": torch.zeros_like(batch["pos"])}


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
        self.loaded = make_batch(frames, type_names)
        self.batch = AtomicDataDict.to_(self.loaded.copy(), device)
        self.labels = zero_hessians(frames)
        self.model = make_model(framework, type_names, channels, dtype).to(device).train()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-5)

    @contextlib.contextmanager
    def steps(self, options: Mapping[str, Any]) -> Iterator[Callable[[int], None]]:
        """Gives the function that trains one step of an epoch with these options.

        Training and calls are attached as ``PIWSLCallback`` does it.
        """
        given = dict(options)
        energies_alone = given.pop("base_loss", None) == "energy"
        loss: Any = PIWSLLoss({"total_energy": 1.0} if energies_alone else None, **given)
        calls, now = None, 0

        if loss.is_on:
            log = training_log(loss)
            training = PIWSLTraining(
                loss.settings, self.labels, seed=0, weights=loss.weights, log=log
            )
            loss.begin(training)
            host = NequIPHost(self.model)
            reads = loss.base_uses_forces
            calls = TrainingCalls(
                host, training, lambda: Moment(now, now, now), reads, loss.supervised_loss, reads
            )
        else:
            loss = EnergyOnlyLoss() if energies_alone else EnergyForceLoss()
        loss.to(self.batch["pos"].device)

        def step(epoch: int) -> None:
            nonlocal now
            now = epoch
            self.optimizer.zero_grad()
            values = loss(self.model(self.batch.copy()), self.batch)
            values["weighted_sum"].backward()
            self.optimizer.step()
            loss.reset()
            if calls is not None:
                loss.end_step()

        try:
            yield step
        finally:
            if calls is not None:
                calls.remove()

    def without_model(self, options: Mapping[str, Any]) -> Callable[[int], None]:
        """The function that does all of a step but what the model does."""
        terms = terms_of(PIWSLLoss(None, **options).settings, self.labels)
        host, loaded = NequIPHost(self.model), self.loaded.copy()
        return without_model(host, terms, loaded, self.batch, zeros)
