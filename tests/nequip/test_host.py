"""NequIP's and Allegro's models as the terms' ``Host``: the conformance suite, and calls."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from hydra.utils import get_method
from nequip.model import NequIPGNNModel

from piwsl_plugins.nequip import PIWSLLoss, host
from piwsl_plugins.nequip.host import NequIPHost
from piwsl_plugins.nequip.training import TrainingCalls
from piwsl_plugins.terms.training import Moment, Training
from piwsl_plugins.testing import HostConformance
from piwsl_plugins.testing.steps import run_step, settings_for
from piwsl_plugins.testing.structures import mixed_structures

from . import reference
from .conftest import MODELS, TYPE_NAMES

R_MAX = 3.0


class NequIPFramework:
    """A small random model, for the conformance suite."""

    def __init__(self, config, seed):
        config = {**copy.deepcopy(config), "seed": seed}
        self.model = get_method(config.pop("_target_"))(**config).train()
        self.host = NequIPHost(self.model)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]

    def batch(self, structures):
        return reference.as_batch(structures, TYPE_NAMES, R_MAX)

    pooled = batch

    def call(self, batch, forces):
        if forces:
            return self.model(batch)
        with self.host.energies_alone():
            return self.model(self.host.without_labels(batch))

    def alone(self, atoms):
        zero = torch.zeros(len(atoms), 3, dtype=torch.float64)
        return reference.evaluate(self.model, reference.as_data(atoms, TYPE_NAMES), zero, R_MAX)


class TestNequIP(HostConformance):
    @pytest.fixture
    def small_model(self):
        return NequIPFramework(MODELS["nequip"], seed=1)


class TestAllegro(HostConformance):
    @pytest.fixture
    def small_model(self):
        return NequIPFramework(MODELS["allegro"], seed=3)


@pytest.mark.parametrize(("limit", "sizes"), [("at", [2]), ("below", [1, 1])])
def test_small_batches_are_joined(limit, sizes, mixed_frames, monkeypatch):
    """In one call of twice the structures; above the limit in two calls."""
    framework = NequIPFramework(MODELS["nequip"], seed=1)
    batch = framework.batch(mixed_frames[:1])
    n_edges = batch["edge_index"].shape[1]
    monkeypatch.setattr(host, "JOIN_EDGES", n_edges - (limit == "below"))
    calls = []
    forward = framework.model.forward

    def counted(data):
        calls.append(len(data["num_atoms"]))
        return forward(data)

    monkeypatch.setattr(framework.model, "forward", counted)
    options = {"pitc_weight": 1.0, "consistency_form": "trapezoid"}
    run_step(framework, mixed_frames[:1], settings_for(options))
    assert calls == sizes


def test_energies_alone_make_no_graph_of_forces():
    """Neither in a call nor afterwards, and the switch is back where it was."""
    framework = NequIPFramework(MODELS["nequip"], seed=1)
    batch = framework.batch(mixed_structures()[:2])
    alone = framework.host.evaluate(batch, forces=False)
    assert alone.forces is None
    both = framework.host.evaluate(batch, forces=True)
    torch.testing.assert_close(alone.energy, both.energy, rtol=1e-13, atol=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("compile_mode", ["eager", "compile"])
def test_model_without_forces(compile_mode, monkeypatch):
    """A compiled model gives the labels of its input back, which are no forces."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    config = {**copy.deepcopy(MODELS["nequip"]), "num_layers": 1, "do_derivatives": False}
    config.pop("_target_")
    model = NequIPGNNModel(**config, compile_mode=compile_mode)
    batch = reference.as_batch(mixed_structures()[:2], TYPE_NAMES, R_MAX)
    with pytest.raises(RuntimeError, match="do_derivatives: true"):
        NequIPHost(model).evaluate(batch, forces=True)
    training = Training(PIWSLLoss().settings)
    TrainingCalls(NequIPHost(model), training, lambda: Moment(0, 0, 0), True)
    with pytest.raises(RuntimeError, match="do_derivatives: true"):
        model(batch)
