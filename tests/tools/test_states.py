"""Charge and spin reach the calculators that take them, and are refused for the others."""

import importlib.machinery
import json
import sys
import types
from typing import ClassVar

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.io import read, write

from piwsl_plugins.errors import InputError
from piwsl_plugins.tools.calculators import CalculatorSource
from piwsl_plugins.tools.command import main
from piwsl_plugins.tools.loaded_calculators import load
from piwsl_plugins.tools.states import not_told


def water(charge=None, spin=None, seed=0):
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=seed)
    atoms.info |= {k: v for k, v in {"charge": charge, "spin": spin}.items() if v is not None}
    return atoms


def labelled(atoms):
    atoms.info["REF_energy"] = -1.0
    atoms.arrays["REF_forces"] = np.zeros((len(atoms), 3))
    return atoms


class FromInfo(Calculator):
    """An energy that is the charge plus ten times the spin of ``info``."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        energy = atoms.info.get("charge", 0) + 10 * atoms.info.get("spin", 1)
        self.results = {"energy": float(energy), "forces": np.zeros((len(atoms), 3))}


class ByParameters(FromInfo):
    """The same of its parameters, as ASE's calculators of programs have them."""

    default_parameters: ClassVar = {"charge": 0, "mult": 1}

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.results["energy"] = float(self.parameters["charge"] + 10 * self.parameters["mult"])


def by_arguments(level, charge=0, multiplicity=1):
    calculator = ByParameters(charge=charge, mult=multiplicity)
    assert level == "dft"
    return calculator


@pytest.fixture(autouse=True)
def chemistry(monkeypatch):
    """A user's module."""
    module = types.ModuleType("chemistry")
    module.__spec__ = importlib.machinery.ModuleSpec("chemistry", None)
    module.FromInfo, module.ByParameters, module.by_arguments = FromInfo, ByParameters, by_arguments
    module.emt = EMT
    monkeypatch.setitem(sys.modules, "chemistry", module)


def energy(text, atoms, charges=None):
    source = CalculatorSource.parse(text, charges=charges)
    return load(source, [1, 8]).evaluate(atoms, "w.xyz frame 3").energy


def test_what_a_blind_calculator_would_get_wrong():
    assert not_told(water(), ()) == {} == not_told(water(0, 1), ())
    assert not_told(water(1, 2), ()) == {"charge": 1}  # a doublet is the lowest of a cation
    assert not_told(water(0, 3), ()) == {"spin": 3}
    assert not_told(water(-1, 4), ("charge",)) == {"spin": 4}
    assert not_told(water(1, 2), ("charge", "spin")) == {}
    ion = water()
    ion.set_initial_charges([-0.5, -0.25, -0.25])
    assert not_told(ion, ()) == {"charge": -1}


def test_a_factory_with_parameters_is_called_with_charge_and_multiplicity():
    for text in ("chemistry:ByParameters", 'chemistry:by_arguments("dft")'):
        assert [energy(text, water(*state)) for state in ((1, 2), (None, 3), ())] == [21, 30, 10]


def test_arguments_of_the_user_stay():
    fixed = 'chemistry:by_arguments("dft", charge=-1)'
    assert energy(fixed, water(-1, 2)) == 19
    with pytest.raises(InputError, match=r"frame 3: charge=1, .* take the structure for charge=-1"):
        energy(fixed, water(1, 2))
    with pytest.raises(InputError, match="frame 3: charge=0"):
        energy(fixed, water(0))


def test_of_other_factories_the_user_must_say():
    with pytest.raises(InputError, match=r"w.xyz frame 3: charge=1, .*say --charges read; if it"):
        energy("chemistry:FromInfo", water(1, 2))
    assert energy("chemistry:FromInfo", water(1, 2), charges="read") == 21
    assert energy("chemistry:emt", water(1, 2), charges="ignored") == energy(
        "chemistry:emt", water()
    )
    ion = water()
    ion.set_initial_charges([1, 0, 0])
    assert energy("chemistry:FromInfo", ion, charges="read") == 11


@pytest.mark.parametrize("verb", ["hessian", "pool", "weak", "report"])
def test_every_verb_refuses_before_it_writes(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frames = [labelled(water(seed=0)), labelled(water(1, 2, seed=1))]
    write("w.xyz", frames, format="extxyz")
    write("p.xyz", [water(seed=2)], format="extxyz")
    command = {
        "hessian": "hessian w.xyz --calculator chemistry:emt",
        "pool": "pool w.xyz --calculator chemistry:emt --n 3 --out o.xyz",
        "weak": "weak w.xyz p.xyz --calculator chemistry:emt --train mace_run_train --out o.xyz",
        "report": "report --model a=chemistry:emt --data w.xyz --parts labels --out o",
    }[verb]
    option = "a=ignored" if verb == "report" else "ignored"
    before = sorted(tmp_path.iterdir())
    assert main(command.split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "w.xyz frame 1: charge=1" in error and f"--charges {option}" in error
    left = [p for p in tmp_path.rglob("*") if p.is_file() and p not in before]
    assert left == []
    if verb == "hessian":
        assert main([*command.split(), "--charges", "ignored"]) == 0


mace_only = pytest.mark.framework


@pytest.mark.slow
@mace_only
def test_models_that_embed_charge_and_spin(tmp_path):
    """Errors of a report are those of the model on MACE's own data, as its table has them."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("mace", reason="needs the mace extra")
    from mace.data import AtomicData, KeySpecification, config_from_atoms
    from mace.tools import AtomicNumberTable, torch_geometric, torch_tools

    from .mace_files import embedded_model

    path = embedded_model(tmp_path / "embedded.model")
    states = [(0, 1), (1, 2), (-1, 2), (0, 3)]
    frames = [labelled(water(*state, seed=n)) for n, state in enumerate(states)]
    write(tmp_path / "w.xyz", frames, format="extxyz")
    model = torch.load(path, weights_only=False)
    errors = {}
    for told in (True, False):
        squares = []
        for atoms in frames:
            info = {"total_charge": atoms.info["charge"], "total_spin": atoms.info["spin"]}
            named = atoms.copy()
            named.info = info if told else {}
            with torch_tools.default_dtype("float64"):
                config = config_from_atoms(named, KeySpecification.from_defaults())
                graph = AtomicData.from_config(config, AtomicNumberTable([1, 6, 8]), cutoff=4.0)
                batch = torch_geometric.Batch.from_data_list([graph]).to_dict()
                found = model(batch)["forces"].detach().numpy()
            squares.append((found - atoms.arrays["REF_forces"]) ** 2)
        errors[told] = 1000 * np.sqrt(np.mean(squares))
    assert abs(errors[True] - errors[False]) > 0.01 * errors[True]
    given = ["report", "--model", f"m={path}", "--data", str(tmp_path / "w.xyz")]
    assert main([*given, "--parts", "labels", "--out", str(tmp_path / "out")]) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["models"]["m"]["values"]["force_rmse"]["value"] == pytest.approx(errors[True])
    check_descriptors(path, tmp_path)


@mace_only
def test_select_says_what_descriptors_do_not_see(tmp_path, capsys):
    pytest.importorskip("mace", reason="needs the mace extra")
    from .mace_files import embedded_model, tiny_model

    write(tmp_path / "w.xyz", [water(0, 1), water(1, 2), water(seed=1)], format="extxyz")
    blind = "differ in charge, which these descriptors do not see"
    for number, (make, said) in enumerate([(tiny_model, True), (embedded_model, False)]):
        path, out = make(tmp_path / f"{number}.model"), tmp_path / f"{number}.xyz"
        given = ["select", str(tmp_path / "w.xyz"), "--n", "2", "--out", str(out)]
        assert main([*given, "--model", str(path)]) == 0
        assert (blind in capsys.readouterr().out) == said


def check_descriptors(path, tmp_path):
    """Neutral and cation are described as by MACE's calculator, and differ."""
    from mace.calculators import MACECalculator

    from piwsl_plugins.frames.reading import read_frames
    from piwsl_plugins.tools.select.descriptors import descriptor

    pair = [water(0, 1), water(1, 2)]
    write(tmp_path / "pair.xyz", pair, format="extxyz")
    described = descriptor(str(path), None, "cpu", 5.0, [1, 8])(read_frames(tmp_path / "pair.xyz"))
    calculator = MACECalculator(model_paths=str(path), device="cpu", default_dtype="float64")
    for features, atoms in zip(described, read(tmp_path / "pair.xyz", ":"), strict=True):
        assert np.allclose(features, calculator.get_descriptors(atoms), atol=1e-12)
    assert np.abs(described[0] - described[1]).max() > 1e-3


@mace_only
def test_a_model_without_embeddings_refuses(tmp_path):
    pytest.importorskip("mace", reason="needs the mace extra")
    from .mace_files import tiny_model

    path = str(tiny_model(tmp_path / "tiny.model"))
    with pytest.raises(InputError, match=r"w.xyz frame 3: charge=1, spin=4, .*--embedding_specs"):
        energy(path, water(1, 4))
    assert energy(path, water(1, 2), charges="ignored") == energy(path, water())
    with pytest.raises(InputError, match="--charges=read is for factories"):
        CalculatorSource.parse(path, charges="read")
    # nor does a factory's, whatever is said of it
    given = f"mace.calculators:MACECalculator(model_paths={path!r}, device='cpu')"
    with pytest.raises(InputError, match=r"w.xyz frame 3: charge=1"):
        energy(given, water(1, 2), charges="read")
