"""The config forms and the command line, without a training."""

from __future__ import annotations

import subprocess
import sys

import nequip  # noqa: F401  (loads the extension, which registers the resolver)
import pytest
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.nequip import config
from piwsl_plugins.nequip._command_line import absent_config, is_nequip_train, with_config_options
from piwsl_plugins.options.settings import Settings

from .command_line import run


def test_expanded_form_holds_every_option():
    expanded = config.expand({"pitc_weight": 0.5, "coeffs": {"total_energy": 2.0}})
    assert expanded["_target_"] == "piwsl_plugins.nequip.PIWSLLoss"
    assert expanded["coeffs"] == {"total_energy": 2.0}
    for name, default in Settings().values().items():
        assert expanded.get(name) == (0.5 if name == "pitc_weight" else default)
    assert config.expand()["coeffs"] == {"total_energy": 1.0, "forces": 1.0}


def test_expanded_preset_stays_what_it_was():
    expanded = config.expand({"preset": "paper", "pitc_weight": 0.1})
    del expanded["_target_"], expanded["coeffs"]
    expected = Settings.create({"preset": "paper", "pitc_weight": 0.1})
    assert Settings.create(expanded) == expected


def test_resolver():
    read = OmegaConf.create(
        {"w": 0.3, "loss": "${piwsl:{pitc_weight: ${w}}}", "plain": "${piwsl:}"}
    )
    resolved = OmegaConf.to_container(read, resolve=True)
    assert resolved["loss"] == config.expand({"pitc_weight": 0.3})
    assert resolved["plain"] == config.expand()
    wrong = OmegaConf.create({"loss": "${piwsl:{pitc_wieght: 1}}"})
    with pytest.raises(InterpolationResolutionError, match="did you mean 'pitc_weight'"):
        OmegaConf.to_container(wrong, resolve=True)


def test_interpolations_are_checked_later():
    config.check({"pitc_weight": "${weight}", "_recursive_": True})
    with pytest.raises(SettingsError):
        config.check({"pitc_weight": "much"})


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in ("a.yaml", "sub/b.yaml"):
        (tmp_path / name).write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "rewritten"),
    [
        (["a.yaml"], ["-cp", "{}", "-cn", "a.yaml"]),
        (["sub/b.yaml", "x=1"], ["-cp", "{}/sub", "-cn", "b.yaml", "x=1"]),
        (["x=1", "a.yaml", "+y=2"], ["-cp", "{}", "-cn", "a.yaml", "x=1", "+y=2"]),
        (["-cn", "a"], ["-cn", "a"]),
        (["-cn", "a", "sub/b.yaml"], ["-cn", "a", "sub/b.yaml"]),
        (["--config-name=a"], ["--config-name=a"]),
        (["file=a.yaml"], ["file=a.yaml"]),
        (["missing.yaml"], ["missing.yaml"]),
        (["a.yaml", "sub/b.yaml"], ["a.yaml", "sub/b.yaml"]),
        (["--help"], ["--help"]),
        ([], []),
    ],
)
def test_config_file_as_an_argument(given, rewritten, file):
    assert with_config_options(given) == [item.format(file) for item in rewritten]


@pytest.mark.parametrize(
    ("given", "absent"),
    [
        (["x=1", "missing.yaml"], "missing.yaml"),
        (["missing.yml"], "missing.yml"),
        (["a.yaml"], None),
        (["file=missing.yaml", "~missing.yaml", "--missing.yaml"], None),
        (["-cn", "missing.yaml"], None),
        (["--config-name=a", "missing.yaml"], None),
        ([""], None),
    ],
)
def test_a_config_file_that_is_not_there(given, absent, file):
    assert absent_config(given) == absent


def test_a_config_file_that_is_not_there_ends_in_one_line(tmp_path):
    done = run("nequip-train", "absent.yaml", directory=tmp_path, check=False)
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    assert lines == ["nequip-train: error: absent.yaml: there is no such config file"]


def test_only_nequips_trainer_is_touched():
    assert is_nequip_train(["/x/bin/nequip-train", "a.yaml"], [])
    assert is_nequip_train(["-m", "a.yaml"], ["python", "-m", "nequip.scripts.train", "a.yaml"])
    assert not is_nequip_train(["-m", "nequip.scripts.train"], ["python", "-m", "other", "x"])
    assert not is_nequip_train(["/x/bin/nequip-package", "a.yaml"], [])
    assert not is_nequip_train(["pytest", "nequip-train"], [])
    assert not is_nequip_train([], [])


def test_importing_nequip_costs_little():
    """The extension, timed in a fresh interpreter after what NequIP imports before it."""
    program = (
        "import time, sys, omegaconf, importlib.metadata\n"
        "start = time.perf_counter()\n"
        "import piwsl_plugins.nequip._extension, piwsl_plugins.nequip._callback\n"
        "print(time.perf_counter() - start)\n"
        "piwsl_plugins.nequip._callback.callbacks()\n"
        "loaded = [m for m in sys.modules if m.split('.')[0] in ('torch', 'hydra', 'lightning')]\n"
        "assert not loaded, loaded\n"
    )
    run = [sys.executable, "-c", program]
    times = [float(subprocess.run(run, capture_output=True, check=True).stdout) for _ in range(5)]
    assert min(times) < 0.020, times


@pytest.mark.slow
def test_importing_nequip_loads_neither_loss_nor_callback():
    program = (
        "import sys, nequip\n"
        "print([m for m in sorted(sys.modules) if m.startswith('piwsl_plugins.')])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    # the start-up file of MACE's adapter is loaded in every process
    loaded = {name for name in eval(run.stdout) if not name.startswith("piwsl_plugins.mace")}
    assert loaded == {
        "piwsl_plugins.nequip",
        "piwsl_plugins.nequip._command_line",
        "piwsl_plugins.nequip._extension",
    }


def test_frames_of_a_file_are_there(tmp_path):
    path = tmp_path / "pool.xyz"
    path.touch()
    for given in (path, f"{path}@:100"):
        config.check_files(config.check({"pool_file": str(given)}))
    with pytest.raises(SettingsError, match="there is no such file"):
        config.check_files(config.check({"pool_file": f"{tmp_path}/other.xyz@:100"}))
