"""What this package takes from NequIP: each fails with a sentence if NequIP moves it."""

from __future__ import annotations

import copy
import importlib
import importlib.metadata
import inspect
import pkgutil

import pytest
from hydra.experimental.callback import Callback as HydraCallback
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from nequip.model import NequIPGNNModel
from nequip.train import EnergyForceMetrics, NequIPLightningModule

from piwsl_plugins.nequip import _hydra
from piwsl_plugins.nequip.host import NequIPHost
from piwsl_plugins.nequip.training import PIWSLCallback

from .conftest import NEQUIP_MODEL

VERSION = f"nequip {importlib.metadata.version('nequip')}"
REMEDY = "the adapter in piwsl_plugins/nequip has to follow"
#: what is called or subclassed, with the arguments that are given to it
CALLED = {
    "nequip.data.compute_neighborlist_": {"data", "r_max"},
    "nequip.data.register_fields": {"graph_fields"},
    "nequip.data._key_registry.get_field_type": {"field", "error_on_unregistered"},
    "nequip.data.AtomicDataDict.batched_from_list": set(),
    "nequip.data.AtomicDataDict.with_batch_": set(),
    "nequip.data.from_ase": {"atoms", "key_mapping"},
    "nequip.data.dataset.NequIPLMDBDataset": {"file_path"},
    "nequip.data.dataset.AtomicDataset._get_data_list": {"indices"},
    "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper": {"model_type_names"},
    "nequip.data.transforms.NeighborListTransform": {"r_max"},
    "nequip.data.transforms.NeighborListPruneTransform": {"r_max"},
    "nequip.nn.embedding.EdgeLengthNormalizer": {"r_max", "type_names", "per_edge_type_cutoff"},
    "nequip.nn.embedding.utils.cutoff_str_to_fulldict": {"cutoff_str", "type_names"},
    "nequip.train.metrics_manager.MetricEntry": set(),
    "nequip.train.MetricsManager": {"metrics", "type_names"},
    "nequip.train.MetricsManager.set_coeffs": {"coeff_dict"},
    "nequip.train.MetricsManager.compute": {"prefix", "suffix"},
    "nequip.utils.RankedLogger": {"rank_zero_only"},
    "nequip.scripts.train.main": set(),
}


@pytest.mark.parametrize("name", CALLED)
def test_functions_of_nequip_are_where_they_were(name):
    try:
        function = pkgutil.resolve_name(name)
    except (ImportError, AttributeError) as error:
        pytest.fail(f"{VERSION} has moved {name} ({error}): {REMEDY}")
    missing = CALLED[name] - set(inspect.signature(function).parameters)
    assert not missing, (
        f"{name} of {VERSION} has no argument {', '.join(sorted(missing))}: {REMEDY}"
    )


def test_models_have_what_the_host_reads_and_switches():
    config = copy.deepcopy(NEQUIP_MODEL)
    config.pop("_target_")
    model = NequIPGNNModel(**config)
    for name in ("metadata", "type_names", "model_input_fields"):
        assert hasattr(model, name), f"models of {VERSION} have no {name}: {REMEDY}"
    assert "r_max" in model.metadata, f"models of {VERSION} have no metadata r_max: {REMEDY}"
    switches = [module for module in model.modules() if getattr(module, "do_derivatives", False)]
    assert switches, f"no module of {VERSION} has the switch do_derivatives: {REMEDY}"
    with NequIPHost(model).energies_alone():
        assert not any(module.do_derivatives for module in switches)
    assert all(module.do_derivatives for module in switches)


def test_compiled_models_keep_their_graphs_by_the_names_of_inputs():
    """So that the graph without forces needs a place of its own (``nequip/host.py``)."""
    text = inspect.getsource(importlib.import_module("nequip.nn.compile").CompileGraphModel)
    assert "_compiled_cache" in text, f"{VERSION} keeps compiled graphs elsewhere: {REMEDY}"


def test_the_training_module_has_what_the_callback_reads():
    config = copy.deepcopy(NEQUIP_MODEL)
    metrics = {"_target_": f"nequip.train.{EnergyForceMetrics.__name__}"}
    loss = {"_target_": "piwsl_plugins.nequip.PIWSLLoss"}
    numbers = {"train": 1, "val": 1, "test": 0}
    module = NequIPLightningModule(
        model=config, loss=loss, val_metrics=metrics, num_datasets=numbers
    )
    for name in ("model", "loss", "train_metrics", "val_metrics", "test_metrics"):
        assert hasattr(module, name), f"the training module of {VERSION} has no {name}: {REMEDY}"


@pytest.mark.parametrize(
    ("ours", "theirs"), [(PIWSLCallback, Callback), (_hydra.ConfigCallback, HydraCallback)]
)
def test_callbacks_are_called_under_these_names(ours, theirs):
    hooks = {name for name in vars(ours) if name.startswith("on_") or name in ("setup", "teardown")}
    missing = sorted(name for name in hooks if not hasattr(theirs, name))
    assert hooks and not missing, f"{theirs.__module__} calls no {', '.join(missing)}: {REMEDY}"


def test_trainers_ask_for_callbacks_and_nequip_for_extensions():
    names = [type(callback).__name__ for callback in Trainer(logger=False).callbacks]
    assert "PIWSLCallback" in names, f"Lightning takes no callbacks from entry points: {REMEDY}"
    text = inspect.getsource(importlib.import_module("nequip"))
    assert "nequip.extension" in text, f"{VERSION} loads no extensions: {REMEDY}"
