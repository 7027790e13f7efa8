"""What may be named as calculator, and xTB, for which a stand-in of tblite is enough."""

import importlib.machinery
import importlib.metadata
import sys
import types

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.io import write

from piwsl_plugins.errors import InputError, RunError
from piwsl_plugins.labels.hessian_labels import read_labels
from piwsl_plugins.tools.calculators import CalculatorSource
from piwsl_plugins.tools.command import main
from piwsl_plugins.tools.loaded_calculators import load


@pytest.fixture
def tblite(monkeypatch):
    """A stand-in whose calculator is EMT; gives the arguments it was made with."""
    made = []

    class TBLite(EMT):
        def __init__(self, **arguments):
            made.append(arguments)
            super().__init__()

    for name in ("tblite", "tblite.ase"):
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["tblite.ase"].TBLite = TBLite
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "9.9" if name == "tblite" else version(name)
    )
    return made


@pytest.fixture
def data(tmp_path):
    frames = [molecule("CH3CH2OH"), molecule("CH3CH2OH")]
    for number, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=number)
        atoms.info.update(charge=number, spin=number + 1, REF_energy=1.0)
        atoms.arrays["REF_forces"] = np.ones((9, 3))
    write(tmp_path / "data.xyz", frames, format="extxyz")
    return str(tmp_path / "data.xyz")


def test_xtb_takes_charge_and_multiplicity_from_the_frame(tblite, data, tmp_path):
    out = tmp_path / "labels.npz"
    assert main(["hessian", data, "--calculator", "gfn2-xtb", "--out", str(out)]) == 0
    assert [(one["charge"], one["multiplicity"]) for one in tblite] == [(0, 1), (1, 2)]
    assert {one["method"] for one in tblite} == {"GFN2-xTB"}
    assert len(read_labels(out)) == 2


@pytest.mark.slow
def test_a_report_takes_xtb_as_a_model(tblite, data, tmp_path):
    out = tmp_path / "out"
    given = ["report", "--model", "xtb=GFN1-xTB", "--data", data, "--out", str(out)]
    assert main([*given, "--parts", "labels", "dynamics", "--md_length", "0.01"]) == 0
    assert (out / "parts" / "labels" / "xtb.json").is_file()
    assert {one["method"] for one in tblite} == {"GFN1-xTB"}
    assert {one["charge"] for one in tblite} == {0, 1}


@pytest.mark.parametrize("name", ["", "base"])
def test_messages_speak_of_a_calculator_as_the_user_does(name):
    source = CalculatorSource.parse("numpy:array", name=name)
    called = "model 'base': numpy:array" if name else "--calculator=numpy:array: numpy:array"
    with pytest.raises(InputError, match=called):
        load(source, [1])


def test_evaluations_name_calculator_and_frame():
    emt = load(CalculatorSource.parse("ase.calculators.emt:EMT", name="emt"), [1])
    with pytest.raises(RunError, match=r"model 'emt' .* failed on x.xyz frame 3 \(Ar\)"):
        emt.evaluate(Atoms("Ar"), "x.xyz frame 3")


def test_identity_changes_with_head_and_file(tmp_path):
    path = tmp_path / "a.model"
    path.write_text("one")
    first = CalculatorSource.parse(str(path)).identity
    assert CalculatorSource.parse(str(path), head="pt").identity != first
    path.write_text("two")
    assert CalculatorSource.parse(str(path)).identity != first


@pytest.mark.parametrize("text", ["numpy:array", "GFN2-xTB", "a.nequip.zip"])
@pytest.mark.parametrize("name", ["", "base"])
def test_a_head_that_nothing_would_take_is_refused(name, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.nequip.zip").touch()
    option = "--head base=pbe" if name else "--head=pbe"
    with pytest.raises(InputError, match=f"{option}: heads are those of MACE models"):
        CalculatorSource.parse(text, head="pbe", name=name)


@pytest.fixture
def user_module(monkeypatch):
    module = types.ModuleType("my_methods")
    module.made = []

    class Method(EMT):
        def __init__(self, *arguments, **keywords):
            module.made.append((arguments, keywords))
            super().__init__()

    module.Method, module.nested = Method, types.SimpleNamespace(Method=Method)
    monkeypatch.setitem(sys.modules, "my_methods", module)
    return module


@pytest.mark.parametrize(
    ("text", "arguments", "keywords"),
    [
        ("my_methods:Method", (), {}),
        ("my_methods:nested.Method()", (), {}),
        ('my_methods:Method(model="7net-l3i5")', (), {"model": "7net-l3i5"}),
        ("my_methods:Method(1.5, -2, k=[1, None], x={'a': (True,)})", (1.5, -2),
         {"k": [1, None], "x": {"a": (True,)}}),
        ("my_methods:Method(path='a(b)=c:d')", (), {"path": "a(b)=c:d"}),
        pytest.param(f"my_methods:Method({'x' * 9999!r})", ("x" * 9999,), {}, id="long"),
    ],
)  # fmt: skip
def test_factories_are_called_with_literal_arguments(user_module, text, arguments, keywords):
    calculator = load(CalculatorSource.parse(text), [29])
    assert user_module.made == [(arguments, keywords)]
    assert calculator.evaluate(Atoms("Cu"), "frame").energy == pytest.approx(3.51, abs=0.01)


@pytest.mark.parametrize(
    "text",
    [
        "my_methods:Method(open('x', 'w'))",
        "my_methods:Method(k=__import__('os').getcwd())",
        "my_methods:Method(k=f'{1}')",
        "my_methods:Method(**{'k': 1})",
        "my_methods:Method(*[1])",
        "my_methods:Method(name)",
        "my_methods:Method()()",
        "my_methods:Method(1",
        "my_methods:Method, Method",
        "my_methods:Method if 1 else 2",
        "my_methods:Method(k=1, k=2)",
        "my_methods:Method({[1]: 2})",
        "my_methods:Method('\0')",
    ],
)
def test_nothing_else_is_evaluated(user_module, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"--calculator=my_methods:Method.* literal"):
        CalculatorSource.parse(text)
    assert user_module.made == [] and list(tmp_path.iterdir()) == []


def test_identity_changes_with_arguments_and_the_files_that_they_name(user_module, tmp_path):
    user_module.__spec__ = importlib.machinery.ModuleSpec("my_methods", None)
    (tmp_path / "w.pth").write_text("one")
    path = repr(str(tmp_path / "w.pth"))
    naming = [f"Method(model={path})", f"Method([1, {path}])", f"Method(k={{'a': ({path},)}})"]
    texts = ["Method", "other", *naming]
    sources = [CalculatorSource.parse(f"my_methods:{text}") for text in texts]
    digests = [source.digest for source in sources]
    assert len(set(digests)) == 5
    (tmp_path / "w.pth").write_text("two")
    assert [source.digest for source in sources[:2]] == digests[:2]
    for source, digest in zip(sources[2:], digests[2:], strict=True):
        assert source.digest != digest
