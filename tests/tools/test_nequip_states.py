"""A NequIP model with charge and spin among its inputs is told them; others refuse ions."""

import pytest
from ase.build import molecule

torch = pytest.importorskip("torch")
pytest.importorskip("nequip", reason="needs the nequip extra")

from nequip.data import AtomicDataDict  # noqa: E402
from nequip.model.saved_models import load_utils  # noqa: E402
from nequip.nn import GraphModel, GraphModuleMixin  # noqa: E402

from piwsl_plugins.errors import InputError, RunError  # noqa: E402
from piwsl_plugins.tools.calculators import CalculatorSource  # noqa: E402
from piwsl_plugins.tools.loaded_calculators import load  # noqa: E402

pytestmark = pytest.mark.framework


class FromState(GraphModuleMixin, torch.nn.Module):
    """An energy that is the charge plus ten times the spin."""

    def __init__(self, inputs):
        super().__init__()
        self._init_irreps(irreps_in=inputs, irreps_out={AtomicDataDict.TOTAL_ENERGY_KEY: "0e"})
        self.inputs = inputs

    def forward(self, data):
        factors = {"charge": 1, "spin": 10}
        data[AtomicDataDict.TOTAL_ENERGY_KEY] = sum(
            (factors[name] * data[name].double().reshape(1, 1) for name in self.inputs),
            torch.zeros(1, 1, dtype=torch.float64),
        )
        data[AtomicDataDict.FORCE_KEY] = torch.zeros_like(data[AtomicDataDict.POSITIONS_KEY])
        return data


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """A checkpoint of a model with these inputs; NequIP's loader gives it."""

    def make(*inputs):
        irreps = dict.fromkeys(inputs, "0e")
        model = GraphModel(FromState(irreps), model_input_fields=irreps)
        model._metadata = {"r_max": "4.0", "type_names": "H O", "model_dtype": "float32"}
        model.type_names = ["H", "O"]
        monkeypatch.setattr(load_utils, "load_saved_model", lambda *_, **__: model)
        torch.save({}, tmp_path / "a.ckpt")
        return CalculatorSource.parse(str(tmp_path / "a.ckpt"))

    return make


def ion(**state):
    atoms = molecule("H2O")
    atoms.info |= state
    return atoms


def test_a_model_is_told_what_is_among_its_inputs(saved):
    model = load(saved("charge", "spin"), [1, 8])
    states = [(1, 2), (0, 1), (-1.0, 4)]
    energies = [model.evaluate(ion(charge=q, spin=s), "frame").energy for q, s in states]
    assert energies == [21, 10, 39]
    with pytest.raises(RunError, match=r"failed on w.xyz frame 2 .*spin"):
        model.evaluate(ion(charge=1), "w.xyz frame 2")


def test_other_models_refuse_ions(saved):
    charge_alone = load(saved("charge"), [1, 8])
    assert charge_alone.evaluate(ion(charge=1, spin=2), "frame").energy == 1
    with pytest.raises(InputError, match=r"w.xyz frame 2: spin=4, .*model_input_fields"):
        charge_alone.evaluate(ion(charge=1, spin=4), "w.xyz frame 2")
    with pytest.raises(InputError, match=r"w.xyz frame 2: charge=1, .*model_input_fields"):
        load(saved(), [1, 8]).evaluate(ion(charge=1), "w.xyz frame 2")
