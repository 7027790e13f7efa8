"""MACE models with long range, where their packages are; neither is on the package index.

``les`` (latent Ewald summation) is licensed for non-commercial use only. A local copy will do:
``PYTHONPATH=les/src:graph_electrostatics``.
"""

import ase.io
import pytest
from mace.modules import extensions

from piwsl_plugins.labels.hessian_labels import write_labels
from piwsl_plugins.testing import HostConformance
from piwsl_plugins.testing.hessians import springs

from .conftest import command_line, frames, run_command
from .test_host import Framework


def needs(package):
    pytest.importorskip(package, reason=f"{package} is not on the package index")


@pytest.fixture(scope="module")
def latent_ewald():
    needs("les")
    return Framework(extensions.MACELES, les_arguments={"use_atomwise": False})


class TestMACELES(HostConformance):
    @pytest.fixture
    def small_model(self, latent_ewald):
        return latent_ewald


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "born_charges"), [("MACELES", False), ("MACELES", True), ("PolarMACE", False)]
)
def test_training_with_every_term(model, born_charges, tmp_path, files):
    needs("les" if model == "MACELES" else "graph_longrange")
    labels = [springs(atoms) for atoms in frames("ethanol_gfn2_train", 4)]
    write_labels(tmp_path / "labels.npz", labels, "springs")
    ase.io.write(tmp_path / "pool.xyz", frames("ethanol_gfn2_train", 20)[12:])
    (tmp_path / "les.yaml").write_text(f"use_atomwise: false\ncompute_bec: {born_charges}\n")
    arguments = command_line(
        tmp_path,
        files,
        loss="piwsl",
        model=model,
        les_arguments=tmp_path / "les.yaml" if model == "MACELES" else None,
        piwsl_pitc_weight=0.1,
        piwsl_pisc_weight=0.1,
        piwsl_hessian_file=tmp_path / "labels.npz",
        piwsl_pool_file=tmp_path / "pool.xyz",
    )
    log = run_command(arguments, tmp_path).stdout
    last = next(line for line in log.splitlines() if "Epoch 1: PIWSL: base_loss" in line)
    for word in ("pool_loss=", "pitc=", "pisc=", "hessian="):
        assert float(last.split(word)[1].split()[0].strip(",")) > 0.0
    assert (tmp_path / "run.model").exists()
