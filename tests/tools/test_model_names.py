"""MACE's names through MACE's cache, files of any name, and compiled models."""

import shutil

import numpy as np
import pytest
from ase.build import molecule
from ase.io import write

torch = pytest.importorskip("torch")
pytest.importorskip("mace", reason="needs the mace extra")

from mace.calculators import MACECalculator, foundations_models  # noqa: E402

from piwsl_plugins.errors import InputError  # noqa: E402
from piwsl_plugins.tools.calculators import CalculatorSource  # noqa: E402
from piwsl_plugins.tools.command import main  # noqa: E402
from piwsl_plugins.tools.loaded_calculators import load  # noqa: E402
from piwsl_plugins.tools.mace_names import canonical  # noqa: E402

from .mace_files import (  # noqa: E402
    compiled_model,
    lammps_models,
    tiny_model,
)

pytestmark = pytest.mark.framework

#: files of MACE's cache (mace-torch 0.3.16): the letters and digits of the address, or its end
CACHED = {
    "small": "20231210mace128L0_energy_epoch249model",
    "mace_mp:medium-mpa-0": "macempa0mediummodel",
    "mh-1": "macemh1model",
    "mace_off:small": "MACE-OFF23_small.model",
    "medium_off": "MACE-OFF23_medium.model",
    "mace_omol": "MACE-omol-0-extra-large-1024.model",
}


def rattled(seed=1):
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=seed)
    return atoms


def forces(source, atoms=None):
    atoms = rattled() if atoms is None else atoms
    return load(source, [1, 6, 8]).evaluate(atoms, "frame").forces


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny.model")


@pytest.fixture(scope="module")
def expected(model):
    atoms = rattled()
    atoms.calc = MACECalculator(model_paths=str(model), device="cpu", default_dtype="float64")
    return atoms.get_forces()


@pytest.fixture
def frames(tmp_path):
    write(tmp_path / "frames.xyz", [rattled(seed) for seed in range(3)], format="extxyz")
    return str(tmp_path / "frames.xyz")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "mace").mkdir()

    def no_network(*_, **__):
        raise OSError("no network here")

    monkeypatch.setattr(foundations_models.urllib.request, "urlopen", no_network)
    return tmp_path / "mace"


@pytest.mark.parametrize("name", CACHED)
def test_maces_names_are_found_in_its_cache(name, cache, model, expected):
    shutil.copy(model, cache / CACHED[name])
    assert np.allclose(forces(CalculatorSource.parse(name)), expected, atol=1e-12)


def test_every_name_of_maces_is_known():
    bare = [name for name in foundations_models.mace_mp_names if name]
    assert all(canonical(name) == f"mace_mp:{name}" for name in bare)
    off = [f"{name}_off" for name in foundations_models.mace_off_urls]
    assert [canonical(name) for name in off] == ["mace_off:small", "mace_off:medium",
                                                 "mace_off:large"]  # fmt: skip
    polar = foundations_models.polar_model_names
    assert [canonical(name) for name in polar] == [f"mace_polar:{name}" for name in polar]
    assert canonical("mace_omol") == "mace_omol" and canonical("mine") is None


def test_a_download_that_fails_is_one_line(cache, tmp_path, frames, capfd):
    out = tmp_path / "labels.npz"
    given = ["hessian", frames, "--index", ":2", "--out", str(out)]
    assert main([*given, "--calculator", "mace_off:small"]) == 2
    printed = capfd.readouterr().err
    # MACE's words on the download and its licence are seen
    assert "Academic Software License" in printed
    line = printed.splitlines()[-1]
    assert line.startswith("piwsl hessian: --calculator=mace_off:small") and "no network" in line
    assert not out.exists() and not out.with_name("labels.npz.partial").exists()


def test_a_name_that_mace_does_not_have(cache):
    with pytest.raises(InputError, match="no such model; mace_off has small, medium, large"):
        load(CalculatorSource.parse("mace_off:tiny"), [1])


def test_a_file_named_like_a_model_of_maces_is_the_file(cache, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(model, "small")
    assert CalculatorSource.parse("small").kind == "mace"
    (tmp_path / "medium").mkdir()
    assert CalculatorSource.parse("medium").source == "mace_mp:medium"


def test_select_takes_maces_names(cache, model, tmp_path, frames):
    shutil.copy(model, cache / CACHED["small"])
    out = tmp_path / "chosen.xyz"
    given = ["select", frames, "--n", "2", "--out", str(out), "--model", "small"]
    assert main([*given, "--method", "fps"]) == 0
    assert out.is_file()


@pytest.mark.slow
@pytest.mark.parametrize("legacy", [False, True])
def test_a_mace_file_of_any_name(legacy, tmp_path, model, expected):
    for name in ("20231203mace128L1_epoch199model", "mine.pt", "a.b"):
        torch.save(
            torch.load(model, weights_only=False),
            tmp_path / name,
            _use_new_zipfile_serialization=not legacy,
        )
        source = CalculatorSource.parse(str(tmp_path / name))
        assert source.kind == "mace"
        assert np.allclose(forces(source), expected, atol=1e-12)


@pytest.mark.slow
def test_compiled_models_serve(tmp_path, expected, frames, capsys):
    path = compiled_model(tmp_path / "tiny_compiled.model")
    renamed = shutil.copy(path, tmp_path / "tiny_compiled")
    for name in (path, renamed):
        source = CalculatorSource.parse(str(name))
        assert source.kind == "mace"
        assert np.allclose(forces(source), expected, atol=1e-12)
    given = ["select", frames, "--n", "2", "--out", str(tmp_path / "o.xyz")]
    assert main([*given, "--model", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "compiled" in error and "tiny_compiled.model" in error


def test_what_is_no_whole_model_is_said(tmp_path, model, monkeypatch):
    loaded = torch.load(model, weights_only=False)
    torch.save({"model": loaded.state_dict(), "optimizer": {}}, tmp_path / "epoch-3.pt")
    with pytest.raises(InputError, match=r"weights without their model.* mace_run_train writes"):
        CalculatorSource.parse(str(tmp_path / "epoch-3.pt"))
    for path in lammps_models(tmp_path / "tiny"):
        with pytest.raises(InputError, match=r"made for LAMMPS; give the \.model"):
            CalculatorSource.parse(str(path))
        as_model = path.rename(path.with_suffix(".model"))
        with pytest.raises(InputError, match=r"made for LAMMPS; give the \.model"):
            load(CalculatorSource.parse(str(as_model)), [1])


class Trap:
    """A pickle that does what it likes where it is loaded."""

    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('executed').touch()",))


def test_looking_at_a_file_executes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"mace.modules.models": Trap()}, "trap.pt")
    torch.save({"a": Trap()}, "other.pt", _use_new_zipfile_serialization=False)
    assert CalculatorSource.parse("trap.pt").kind == "mace"
    with pytest.raises(InputError, match="cannot be told from its name or its content"):
        CalculatorSource.parse("other.pt")
    assert not (tmp_path / "executed").exists()
