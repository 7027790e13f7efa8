"""With another loss than ours, every function that is replaced does what MACE's own does."""

import argparse
import importlib
import logging
import os
import re
import sys

import ase.io
import mace.cli.run_train  # noqa: F401 (binds the functions)
import pytest
import torch

from piwsl_plugins.mace import _hooks

from .conftest import frames, train, write_files

HOOKED = {
    f"{module}.{name}": getattr(importlib.import_module(module), name)
    for module, names in _hooks.HOOK_POINTS.items()
    for name in names
}


class Recorder(logging.Handler):
    """What is called in a run, with what it gives and does."""

    def __init__(self):
        super().__init__()
        self.messages, self.calls = [], {}

    def emit(self, record):
        self.messages.append(plain(record.getMessage()))

    def of(self, name, function):
        def recorded(*args, **keywords):
            before, n = dict(os.environ), len(self.messages)
            result = function(*args, **keywords)
            namespaces = [
                sorted(vars(value))
                for value in (*args, *keywords.values())
                if isinstance(value, argparse.Namespace)
            ]
            done = plain(result), namespaces, self.messages[n:], dict(os.environ) == before
            self.calls.setdefault(name, []).append(done)
            return result

        return recorded


def plain(value):
    """A value as what can be compared, but for times, addresses and the help of our options."""
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items() if name != "time"}
    if isinstance(value, argparse.ArgumentParser):
        return plain(vars(value.parse_args(["--name=x"])))
    if isinstance(value, torch.nn.Module):
        return type(value).__name__, plain(dict(value.state_dict()))
    if isinstance(value, torch.Tensor):
        return value.tolist()
    return re.sub("0x[0-9a-f]+", "", str(value))


def calls_of(patch, folder, functions):
    """All calls in a run of two stages, and a fine-tuning, with these functions as the hooks."""
    recorder = Recorder()
    wrapped = {id(HOOKED[name]): recorder.of(name, one) for name, one in functions.items()}
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] == "mace":
            for name, value in list(vars(module).items()):
                if id(value) in wrapped:
                    patch.setattr(module, name, wrapped[id(value)])
    folder.mkdir()
    patch.chdir(folder)
    files = write_files(folder, "ethanol_gfn2", 4, 2)
    files = {name: path.relative_to(folder) for name, path in files.items()}
    logging.getLogger().addHandler(recorder)
    try:
        train(folder, files, loss="universal", work_dir=".", swa=True, start_swa=1)
        ase.io.write("few.xyz", frames("ethanol_gfn2_train", 4))
        files["train_file"], tuning = "few.xyz", {"multiheads_finetuning": False, "name": "tuned"}
        options = {"foundation_model": "run.model", "E0s": "estimated", **tuning}
        train(folder, files, loss="weighted", work_dir=".", **options)
    finally:
        logging.getLogger().removeHandler(recorder)
    return recorder.calls


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    stock = {name: function.piwsl_original for name, function in HOOKED.items()}
    found = []
    for name, functions in (("stock", stock), ("hooked", HOOKED)):
        with pytest.MonkeyPatch.context() as patch:
            found.append(calls_of(patch, folder / name, functions))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", HOOKED)
def test_results_arguments_environment_and_log_are_those_of_mace(name, runs):
    stock, hooked = (calls[name] for calls in runs)
    assert stock
    assert hooked == stock
