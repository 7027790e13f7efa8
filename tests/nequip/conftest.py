"""Tiny models on the project's own data; nothing here is collected without NequIP."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path

import pytest

if importlib.util.find_spec("nequip") is None:
    collect_ignore_glob = ["test_*.py"]

DATA = Path(__file__).parents[2] / "data"

TYPE_NAMES = ["C", "H", "O"]

NEQUIP_MODEL = {
    "_target_": "nequip.model.NequIPGNNModel",
    "seed": 3,
    "model_dtype": "float64",
    "r_max": 3.0,
    "type_names": TYPE_NAMES,
    "num_layers": 2,
    "l_max": 1,
    "parity": False,
    "num_features": 4,
    "radial_mlp_width": 8,
    "avg_num_neighbors": 6.0,
    "per_type_energy_scales": 1.5,
    "per_type_energy_shifts": {"C": -50.0, "H": -11.7, "O": -104.0},
}

ALLEGRO_MODEL = {
    "_target_": "allegro.model.AllegroModel",
    "seed": 3,
    "model_dtype": "float64",
    "r_max": 3.0,
    "type_names": TYPE_NAMES,
    "l_max": 1,
    "parity": True,
    "radial_chemical_embed": {
        "_target_": "allegro.nn.TwoBodyBesselScalarEmbed",
        "num_bessels": 4,
    },
    "num_layers": 1,
    "num_scalar_features": 8,
    "num_tensor_features": 4,
    "allegro_mlp_hidden_layers_width": 8,
    "scalar_embed_mlp_hidden_layers_width": 8,
    "readout_mlp_hidden_layers_width": 8,
    "avg_num_neighbors": 6.0,
    "per_type_energy_scales": 1.5,
    "per_type_energy_shifts": {"C": -50.0, "H": -11.7, "O": -104.0},
}

MODELS = {"nequip": NEQUIP_MODEL, "allegro": ALLEGRO_MODEL}


@contextlib.contextmanager
def global_state():
    """NequIP's own global settings (float64 data), which stay, as wherever NequIP is loaded."""
    import torch
    from nequip.utils.global_state import set_global_state

    set_global_state()
    torch.set_default_dtype(torch.float64)  # the line above acts only once in a process
    yield
    torch.set_default_dtype(
        torch.float64
    )  # not restored: later tests would run in single precision


@pytest.fixture(autouse=True)
def _global_state():
    with global_state():
        yield


@pytest.fixture(scope="session")
def mixed_frames():
    """Molecules, periodic boxes of two sizes and an isolated atom, as ``ase.Atoms``."""
    import ase.io

    def read(name, index):
        return ase.io.read(DATA / f"{name}.xyz", index=index)

    periodic = {len(atoms): atoms for atoms in read("periodic_gfn2_valid", ":")}
    return [
        *read("ethanol_gfn2_valid", ":2"),
        periodic[24],
        *read("ethanol_gfn2_train", "1:2"),
        periodic[36],
    ]


@pytest.fixture
def ethanol(tmp_path, monkeypatch):
    """Two frames in the file "train.xyz" of an empty current folder, as ``ase.Atoms``."""
    import ase.io

    monkeypatch.chdir(tmp_path)
    ase.io.write("train.xyz", ase.io.read(DATA / "ethanol_gfn2_train.xyz", "3:5"))
    return ase.io.read("train.xyz", ":")
