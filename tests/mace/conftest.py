"""A tiny MACE, the bundled data, and MACE's trainer in this process or through its command."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import ase.io
import numpy as np
import pytest
import torch

pytest.importorskip("mace", reason="needs the mace extra")
from e3nn import o3
from mace import data, modules, tools
from mace.tools import torch_geometric

from piwsl_plugins.mace import process

from ..command_server import CommandServer
from ..mace_models import ModelsBuiltOnce, build_once

DATA = Path(__file__).parents[2] / "data"
ELEMENTS = [1, 6, 8]
R_MAX = 4.0
#: options of MACE that take no value
SWITCHES = {
    "amsgrad",
    "distributed",
    "dry_run",
    "pair_repulsion",
    "ema",
    "lbfgs",
    "restart_latest",
    "save_all_checkpoints",
    "save_cpu",
    "swa",
    "wandb",
}
SMALL_MODEL = {
    "num_interactions": 1,  # half the time of a tiny run is building two
    "num_channels": 4,
    "max_L": 1,
    "max_ell": 2,
    "correlation": 2,
    "r_max": R_MAX,
    "num_radial_basis": 4,
    "MLP_irreps": "8x0e",
}


@pytest.fixture(autouse=True, scope="session")
def double_precision():
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    torch._C._set_graph_executor_optimize(False)  # as in the processes of command_server()


def frames(name, n):
    """The first ``n`` labelled frames of a bundled file."""
    everything = ase.io.read(DATA / f"{name}.xyz", index=":")
    return [atoms for atoms in everything if len(atoms) > 1][:n]


def isolated_atoms(name):
    return [atoms for atoms in ase.io.read(DATA / f"{name}.xyz", index=":") if len(atoms) == 1]


def atomic_data(atoms, heads=None, head="Default", r_max=R_MAX):
    key_specification = data.KeySpecification.from_defaults()
    config = data.config_from_atoms(atoms, key_specification=key_specification, head_name=head)
    return data.AtomicData.from_config(
        config, z_table=tools.AtomicNumberTable(ELEMENTS), cutoff=r_max, heads=heads
    )


def loader(structures, batch_size=None, **keywords):
    return torch_geometric.dataloader.DataLoader(
        dataset=structures, batch_size=batch_size or len(structures), **keywords
    )


def batch_of(structures):
    return next(iter(loader(structures)))


def make_model(kind=modules.ScaleShiftMACE, seed=0, **keywords):
    """A random MACE of two layers whose energies vary on the scale of eV."""
    torch.manual_seed(seed)
    config = {
        "r_max": R_MAX,
        "num_bessel": 4,
        "num_polynomial_cutoff": 5,
        "max_ell": 2,
        "interaction_cls": modules.RealAgnosticResidualInteractionBlock,
        "interaction_cls_first": modules.RealAgnosticResidualInteractionBlock,
        "num_interactions": 2,
        "num_elements": len(ELEMENTS),
        "hidden_irreps": o3.Irreps("4x0e + 4x1o"),
        "MLP_irreps": o3.Irreps("8x0e"),
        "atomic_energies": np.array([-10.0, -50.0, -100.0]),
        "avg_num_neighbors": 8.0,
        "atomic_numbers": ELEMENTS,
        "correlation": 2,
        "gate": torch.nn.functional.silu,
        "radial_MLP": [16, 16],
    }
    if issubclass(kind, modules.ScaleShiftMACE):
        config |= {"atomic_inter_scale": 2.0, "atomic_inter_shift": 0.1}
    return build_once(kind, **(config | keywords)).to(torch.float64)


@pytest.fixture
def files(tmp_path):
    """Small training and validation files of ethanol."""
    return write_files(tmp_path, "ethanol_gfn2", 12, 6)


def write_files(folder, name, n_train, n_valid, suffix=""):
    paths = {
        "train_file": folder / f"train{suffix}.xyz",
        "valid_file": folder / f"valid{suffix}.xyz",
    }
    ase.io.write(
        paths["train_file"], isolated_atoms(f"{name}_train") + frames(f"{name}_train", n_train)
    )
    ase.io.write(paths["valid_file"], frames(f"{name}_valid", n_valid))
    return paths


@pytest.fixture(scope="session")
def short_data(tmp_path_factory):
    """A folder with the first 16 frames of each bundled file, by the names that configs have."""
    folder = tmp_path_factory.mktemp("short")
    for part in ("data", "quickstart"):
        (folder / part).mkdir()
    for path in DATA.glob("*.xyz"):
        ase.io.write(folder / "data" / path.name, ase.io.read(path, ":16"))
    shutil.copy(DATA / "ethanol_gfn2_hessian.npz", folder / "data")
    ten = isolated_atoms("ethanol_gfn2_train") + frames("ethanol_gfn2_train", 10)
    ase.io.write(folder / "quickstart" / "ethanol_10.xyz", ten)
    return folder


def command_line(folder, files, **options):
    """Arguments of ``mace_run_train`` for a tiny run in ``folder``."""
    defaults = {
        "name": "run",
        "work_dir": folder,
        "seed": 1,
        "device": "cpu",
        "default_dtype": "float64",
        "batch_size": 4,
        "valid_batch_size": 6,
        "max_num_epochs": 2,
        "eval_interval": 1,
        "num_workers": 0,
        "plot": False,
    }
    merged = defaults | SMALL_MODEL | files | options
    return [
        f"--{name}" if name in SWITCHES else f"--{name}={value}"
        for name, value in merged.items()
        if value is not None
    ]


def train(folder, files, loss="piwsl", **options):
    """MACE's trainer in this process, as its own tests run it; returns the final model."""
    folder.mkdir(exist_ok=True)
    try:
        name = run_here(command_line(folder, files, loss=loss, **options))
    finally:
        process.deselect()
    path = folder / f"{name}.model"
    return torch.load(path, weights_only=False) if path.exists() else None


def run_here(arguments):
    """MACE's trainer in this process, given its command line; returns the name of the run.

    Without the TorchScript model that MACE writes beside its own, a fifth of the time.
    """
    from mace.cli.run_train import run
    from mace.tools import build_default_arg_parser

    args = build_default_arg_parser().parse_args(arguments)
    try:
        with (
            mock.patch("mace.tools.model_script_utils.modules", ModelsBuiltOnce()),
            mock.patch("mace.cli.run_train.jit"),
        ):
            run(args)
    finally:
        close_log_files()
        torch.set_default_dtype(torch.float64)
    return args.name


def close_log_files():
    """MACE's ``setup_logger`` adds handlers and filters to the root logger at every run."""
    import logging

    root = logging.getLogger()
    root.filters.clear()
    for handler in list(root.handlers):
        if isinstance(handler, logging.FileHandler) or type(handler) is logging.StreamHandler:
            root.removeHandler(handler)
            handler.close()


@functools.cache
def command_server():
    """Runs ``mace_run_train``; MACE itself is not imported before."""
    return CommandServer("torch._dynamo", "ase.io", "h5py", "torchmetrics", "scipy.signal")


def run_command(arguments, folder, program="mace_run_train", environment=None, check=True):
    """MACE's own console script, or a Python command, in a process of its own."""
    if program == "mace_run_train" and not environment:
        done = command_server().run(program, arguments, folder)
    else:
        script = Path(sys.executable).with_name("mace_run_train")
        command = [str(script)] if program == "mace_run_train" else [sys.executable, *program]
        done = subprocess.run(
            [*command, *arguments],
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {}),
            capture_output=True,
            text=True,
        )
    if check:
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


class NoLogger:
    """Stands for MACE's results file."""

    def log(self, entry):
        pass


def train_epoch(model, loss_fn, data_loader, optimizer, epoch, distributed_model=None, rank=0):
    """One epoch of MACE's trainer."""
    sys.modules["mace.tools.train"].train_one_epoch(
        model=model,
        loss_fn=loss_fn,
        data_loader=data_loader,
        optimizer=optimizer,
        epoch=epoch,
        output_args={"forces": True, "virials": False, "stress": False},
        max_grad_norm=None,
        ema=None,
        logger=NoLogger(),
        device=torch.device("cpu"),
        distributed=distributed_model is not None,
        distributed_model=distributed_model,
        rank=rank,
    )


def assert_same_weights(first, second):
    first, second = first.state_dict(), second.state_dict()
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
