"""What this package takes from MACE: each fails with a sentence if MACE moves it."""

import argparse
import importlib.metadata
import inspect
import pkgutil
import sys

import pytest

from piwsl_plugins.mace import _hooks, _startup

from .conftest import make_model

#: of the functions that are replaced: the arguments that are read, by name
ARGUMENTS = {
    "mace.data.utils.estimate_e0s_from_foundation": {"foundation_model"},
    "mace.data.utils.load_from_xyz": {"file_path", "key_specification", "no_data_ok"},
    "mace.tools.arg_parser.build_default_arg_parser": set(),
    "mace.tools.arg_parser_tools.check_args": {"args"},
    "mace.tools.model_script_utils.configure_model": {
        "args",
        "train_loader",
        "atomic_energies",
        "heads",
        "head_configs",
        "z_table",
    },
    "mace.tools.run_train_utils.load_dataset_for_path": {"file_path", "heads", "head_config"},
    "mace.tools.scripts_utils.get_avg_num_neighbors": {"args", "train_loader"},
    "mace.tools.scripts_utils.get_loss_fn": {"args"},
    "mace.tools.scripts_utils.get_swa": {"args"},
    "mace.tools.train.train": {
        "log_wandb",
        "loss_fn",
        "swa",
        "train_loader",
        "valid_loaders",
        "logger",
        "rank",
        "eval_interval",
        "checkpoint_handler",
    },
    "mace.tools.train.train_one_epoch": {
        "model",
        "loss_fn",
        "data_loader",
        "optimizer",
        "epoch",
        "logger",
        "rank",
    },
    "mace.tools.train.evaluate": {"model", "loss_fn"},
}
#: functions that are called, with the arguments that they are given
CALLED = {
    "mace.data.neighborhood.get_neighborhood": {"positions", "cutoff", "pbc", "cell"},
    "mace.modules.loss.is_ddp_enabled": set(),
    "mace.modules.loss.weighted_mean_squared_error_energy": {"ref", "pred", "ddp"},
    "mace.tools.scripts_utils.check_path_ase_read": set(),
    "mace.tools.scripts_utils.get_config_type_weights": set(),
    "mace.data.AtomicData.from_config": {"config", "z_table", "cutoff", "heads"},
    "mace.data.KeySpecification.from_defaults": set(),
}
VERSION = f"mace-torch {importlib.metadata.version('mace-torch')}"
REMEDY = "the adapter in piwsl_plugins/mace has to follow"


def found(name):
    """A function by its dotted name, or a failure with a sentence."""
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError) as error:
        pytest.fail(f"{VERSION} has moved {name} ({error}): {REMEDY}")


@pytest.mark.parametrize("name", [*ARGUMENTS, *CALLED])
def test_functions_of_mace_are_where_they_were(name):
    function = found(name)
    there = set(inspect.signature(getattr(function, "piwsl_original", function)).parameters)
    missing = (ARGUMENTS | CALLED)[name] - there
    assert not missing, (
        f"{name} of {VERSION} has no argument {', '.join(sorted(missing))}: {REMEDY}"
    )


def test_every_hook_is_listed_here_and_where_the_process_starts():
    hooked = {f"{module}.{name}" for module, names in _hooks.HOOK_POINTS.items() for name in names}
    assert hooked == set(ARGUMENTS)
    assert set(_hooks.HOOK_POINTS) == _startup.HOOKED_MODULES


@pytest.mark.parametrize("name", [name for name in ARGUMENTS if "check_args" not in name])
def test_functions_of_another_version_do_what_they_did(name, monkeypatch):
    """Whatever their arguments are called, and without our loss being loaded, unless selected."""
    monkeypatch.delitem(sys.modules, "piwsl_plugins.mace.loss", raising=False)
    module, _, function = name.rpartition(".")
    wrap = _hooks.HOOK_POINTS[module][function]
    if function == "build_default_arg_parser":
        parser = argparse.ArgumentParser()
        before = parser.format_help()
        assert wrap(lambda: parser)().format_help() == before
        return
    assert wrap(lambda renamed, *, other=2: (renamed, other))(1) == (1, 2)
    assert "piwsl_plugins.mace.loss" not in sys.modules


def test_arguments_of_another_version_are_checked_as_they_were():
    check_args = _hooks.HOOK_POINTS["mace.tools.arg_parser_tools"]["check_args"](lambda args: args)
    for args in (argparse.Namespace(), argparse.Namespace(loss="weighted")):
        assert check_args(args) is args


def test_models_have_what_the_host_reads():
    model = make_model()
    for name in ("r_max", "atomic_numbers", "heads"):
        assert hasattr(model, name), f"models of {VERSION} have no {name}: {REMEDY}"
    arguments = inspect.signature(model.forward).parameters
    for name in ("training", "compute_force", "compute_virials", "compute_stress"):
        assert name in arguments, f"models of {VERSION} take no {name}: {REMEDY}"


def test_positions_are_asked_for_a_gradient_by_the_model():
    """Else energies alone would cost what forces do (``mace/structures.py``, ``_NoForces``)."""
    text = inspect.getsource(found("mace.modules.utils.prepare_graph"))
    asked = 'data["positions"].requires_grad_(True)' in text
    assert asked, f"{VERSION} asks otherwise for a gradient of the positions: {REMEDY}"
