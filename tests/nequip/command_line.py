"""NequIP's own commands on tiny configs, in processes of their own."""

from __future__ import annotations

import copy
import functools

import torch
import yaml

from ..command_server import CommandServer
from .conftest import DATA, MODELS, TYPE_NAMES

ROOT = DATA.parent

#: an interpreter in which piwsl-plugins is not installed
WITHOUT_US = """
import importlib.metadata, sys
everything = importlib.metadata.entry_points
def entry_points(**keywords):
    found = everything(**keywords)
    return [e for e in found if not e.value.startswith("piwsl_plugins")] if keywords else found
importlib.metadata.entry_points = entry_points
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "piwsl_plugins":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
for name in [name for name in sys.modules if name.startswith("piwsl_plugins")]:
    del sys.modules[name]
"""


def config(model="nequip", loss="piwsl", **sections):
    """A config as a user writes it: three steps per epoch on nine frames of ethanol."""
    mapper = "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper"
    made = {
        "run": ["train", "test"],
        "data": {
            "_target_": "nequip.data.datamodule.ASEDataModule",
            "seed": 5,
            "train_file_path": f"{DATA}/ethanol_gfn2_train.xyz@2:11",
            "val_file_path": f"{DATA}/ethanol_gfn2_valid.xyz@:4",
            "test_file_path": f"{DATA}/ethanol_gfn2_test.xyz@:4",
            "key_mapping": {"REF_energy": "total_energy", "REF_forces": "forces"},
            "transforms": [
                {"_target_": mapper, "model_type_names": TYPE_NAMES},
                {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": 3.0},
            ],
            "train_dataloader": {"batch_size": 3, "shuffle": True},
            "val_dataloader": {"batch_size": 4},
            "test_dataloader": {"batch_size": 4},
            "stats_manager": {
                "_target_": "nequip.data.CommonDataStatisticsManager",
                "type_names": TYPE_NAMES,
            },
        },
        "trainer": {
            "_target_": "lightning.Trainer",
            "accelerator": "cpu",
            "max_epochs": 2,
            "enable_progress_bar": False,
            "log_every_n_steps": 1,
            "logger": {
                "_target_": "lightning.pytorch.loggers.CSVLogger",
                "save_dir": "${hydra:runtime.output_dir}",
                "name": "metrics",
            },
            "callbacks": [
                {
                    "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "dirpath": "${hydra:runtime.output_dir}",
                    "save_last": True,
                    "monitor": "val0_epoch/weighted_sum",
                }
            ],
        },
        "training_module": {
            "_target_": "nequip.train.EMALightningModule",
            "loss": loss,
            "val_metrics": {"_target_": "nequip.train.EnergyForceMetrics"},
            "test_metrics": {"_target_": "nequip.train.EnergyForceMetrics"},
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
            "model": copy.deepcopy(MODELS[model]),
        },
    }
    if model == "nequip":
        made["training_module"]["model"]["num_layers"] = 1  # building takes longer than training
    made["training_module"]["model"]["avg_num_neighbors"] = (
        "${training_data_stats:num_neighbors_mean}"
    )
    for section, changes in sections.items():
        made[section] = {**made[section], **changes}
    return made


@functools.cache
def command_server():
    """Runs NequIP's commands; NequIP itself is not imported before."""
    packages = ("torch._dynamo", "lightning", "scipy.signal", "e3nn.io", "ase.io", "hydra")
    packages += ("pytorch_lightning", "requests")  # which Lightning asks for late
    return CommandServer(*packages)


def run(command, *arguments, directory, check=True):
    """Run one of NequIP's commands in ``directory``; returns its output, both streams."""
    done = command_server().run(command, arguments, directory, one_stream=True)
    if check and done.returncode:
        raise AssertionError(f"{command} {arguments} failed:\n{done.stdout}")
    return done


def write_config(directory, made):
    """The config as "config.yaml"."""
    (directory / "config.yaml").write_text(yaml.safe_dump(made))


def train(directory, made, *arguments, output="out", check=True):
    """``nequip-train …`` with a config in ``directory``; returns its log."""
    write_config(directory, made)
    named = ["-cp", str(directory), *arguments, f"hydra.run.dir={output}"]
    return run("nequip-train", *named, directory=directory, check=check).stdout


def checkpoint(path):
    return torch.load(path, map_location="cpu", weights_only=False)


def weights(path, part="model"):
    state = checkpoint(path)["state_dict"]
    return {
        key: value
        for key, value in state.items()
        if key.startswith(f"{part}.") and isinstance(value, torch.Tensor)
    }


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def metrics(directory):
    """Columns of the CSV log: name to the list of its values."""
    rows = (directory / "metrics/version_0/metrics.csv").read_text().splitlines()
    names = rows[0].split(",")
    columns = {name: [] for name in names}
    for row in rows[1:]:
        for name, value in zip(names, row.split(",")):
            if value:
                columns[name].append(float(value))
    return columns
