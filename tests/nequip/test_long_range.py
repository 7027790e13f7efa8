"""NequIP with latent Ewald summation; its package is licensed for non-commercial use only."""

from __future__ import annotations

import ase.io
import pytest

pytest.importorskip(
    "nequip_les",
    reason="nequip_les and les (non-commercial licence) are not on the package index: PYTHONPATH",
)

from piwsl_plugins.labels.hessian_labels import write_labels
from piwsl_plugins.testing import HostConformance
from piwsl_plugins.testing.hessians import springs

from .command_line import config, metrics, train
from .conftest import DATA, MODELS
from .test_host import NequIPFramework


def long_range(name: str, born_charges: bool = False) -> dict:
    """The config of a small model of NequIP or Allegro with charges."""
    arguments = {"les_args": {"use_atomwise": False}, "compute_bec": born_charges}
    target = {"_target_": "nequip_les.model.LESModel", "base_model": name, "LES": arguments}
    return {**MODELS[name], **target}


class TestNequIPLES(HostConformance):
    @pytest.fixture
    def small_model(self):
        return NequIPFramework(long_range("nequip"), seed=1)


class TestAllegroLES(HostConformance):
    @pytest.fixture
    def small_model(self):
        return NequIPFramework(long_range("allegro"), seed=3)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "born_charges"), [("nequip", True), ("allegro", False)])
def test_training_with_every_term(name, born_charges, tmp_path):
    labelled = ase.io.read(DATA / "ethanol_gfn2_train.xyz", "3:6")
    labels = [springs(atoms) for atoms in labelled]
    write_labels(tmp_path / "labels.npz", labels, "springs")
    loss = {
        "_target_": "piwsl_plugins.nequip.PIWSLLoss",
        "pitc_weight": 0.1,
        "pisc_weight": 0.1,
        "hessian_file": "labels.npz",
        "pool_file": str(DATA / "ethanol_gfn2_hot.xyz"),
    }
    made = config(loss=loss)
    model = long_range(name, born_charges)
    made["training_module"]["model"] = model | {
        "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}"
    }
    train(tmp_path, made)
    columns = metrics(tmp_path / "out")
    for term in ("pitc", "pisc", "hessian"):
        assert columns[f"train_loss_epoch/{term}"][-1] > 0.0
