"""NequIP models whose type names are no element symbols."""

import copy

import numpy as np
import pytest
from ase.build import molecule

torch = pytest.importorskip("torch")
pytest.importorskip("nequip", reason="needs the nequip extra")

from piwsl_plugins.errors import InputError  # noqa: E402
from piwsl_plugins.frames.reading import Frame  # noqa: E402
from piwsl_plugins.tools.calculators import CalculatorSource  # noqa: E402
from piwsl_plugins.tools.loaded_calculators import load  # noqa: E402
from piwsl_plugins.tools.nequip_types import types_of_elements  # noqa: E402
from piwsl_plugins.tools.select.model_features import (  # noqa: E402
    ModelSource,
    NequipFeatures,
)

pytestmark = pytest.mark.framework

NAMES = ["Cx", "Hx", "C"]
#: C is the type of oxygen: a name that is a symbol, of another element
TYPES = {"C": "Cx", "H": "Hx", "O": "C"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint of ``nequip-train``."""
    from ..nequip.command_line import config, train

    folder = tmp_path_factory.mktemp("types")
    made = config(loss={"_target_": "nequip.train.EnergyForceLoss"})
    made["data"]["transforms"][0] |= {
        "model_type_names": NAMES,
        "chemical_species_to_atom_type_map": TYPES,
    }
    made["data"]["stats_manager"]["type_names"] = NAMES
    model = made["training_module"]["model"]
    model["type_names"] = NAMES
    model["per_type_energy_shifts"] = {"Cx": -50.0, "Hx": -11.7, "C": -104.0}
    train(folder, made, "run=[train]", "trainer.max_epochs=1")
    return folder / "out" / "last.ckpt"


def changed(saved, path, change):
    """The checkpoint with other transforms in the config of its data."""
    checkpoint = torch.load(saved, weights_only=False)
    data = checkpoint["hyper_parameters"]["info_dict"]["data"]
    change(data["transforms"])
    torch.save(checkpoint, path)
    return str(path)


def energy_by_nequip(path):
    from nequip.integrations.ase import NequIPCalculator

    atoms = molecule("CH3CH2OH")
    atoms.calc = NequIPCalculator._from_saved_model(
        str(path), chemical_species_to_atom_type_map=TYPES
    )
    return atoms.get_potential_energy()


@pytest.mark.slow
def test_elements_have_the_types_of_the_training(saved):
    found = load(CalculatorSource.parse(str(saved)), [1, 6, 8])
    energy = found.evaluate(molecule("CH3CH2OH"), "a frame").energy
    assert energy == pytest.approx(energy_by_nequip(saved), abs=1e-9)


def test_select_describes_them_and_knows_which_there_are(saved):
    described = NequipFeatures(ModelSource.parse(str(saved)), (1, 6, 8), "cpu")
    described.load()
    (features,) = described([Frame(molecule("CH3CH2OH"), "a.xyz frame 0")])
    assert len(features) == 9 and np.ptp(features, axis=0).max() > 0
    with pytest.raises(InputError, match=r"not trained on the element\(s\) Cu, N"):
        NequipFeatures(ModelSource.parse(str(saved)), (6, 7, 29), "cpu").load()


def test_several_maps_are_asked_for(saved, tmp_path):
    def add_another(transforms):
        transforms.append(copy.deepcopy(transforms[0]))
        transforms[-1]["chemical_species_to_atom_type_map"] = {"C": "Hx"}

    path = changed(saved, tmp_path / "two.ckpt", add_another)
    assert types_of_elements(path) is None
    with pytest.raises(InputError, match=r"factory .* chemical_species_to_atom_type_map"):
        load(CalculatorSource.parse(path), [1, 6, 8])


def test_a_checkpoint_without_a_config_of_data(saved, tmp_path):
    path = changed(saved, tmp_path / "none.ckpt", list.clear)
    with pytest.raises(InputError, match=r"'Cx'.*docs/calculators\.md"):
        load(CalculatorSource.parse(path), [1, 6, 8])


@pytest.mark.slow
def test_a_package(saved):
    from ..nequip.command_line import ROOT, run

    package = saved.with_name("model.nequip.zip")
    run("nequip-package", "build", saved, package, directory=ROOT)
    assert types_of_elements(str(package)) == TYPES
    found = load(CalculatorSource.parse(str(package)), [1, 6, 8])
    energy = found.evaluate(molecule("CH3CH2OH"), "a frame").energy
    assert energy == pytest.approx(energy_by_nequip(saved), abs=1e-9)
