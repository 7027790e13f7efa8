"""Corrections trained by the hosts' own commands."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest

from .conftest import bundled

pytestmark = pytest.mark.framework

ROOT = Path(__file__).parents[3]
CHEAP = ("--cheap_labels", "cheap.xyz")
COMMANDS = {
    "mace": f"mace_run_train --config {ROOT}/configs/mace/correction.yaml --max_num_epochs=80 "
    "--num_channels=4 --r_max=3.5 --max_ell=2 --correlation=2 --num_interactions=1 --plot=False",
    "nequip": f"nequip-train {ROOT}/configs/nequip/correction.yaml epochs=80 r_max=3.0 "
    "training_module.model.num_features=4 training_module.model.num_layers=1",
}
HOSTS = [
    pytest.param(
        name,
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(
                importlib.util.find_spec(name) is None, reason=f"needs the {name} extra"
            ),
        ],
    )
    for name in COMMANDS
]


def errors(frames):
    reference = bundled("gfn2_hot", ":12")
    found = np.concatenate([atoms.arrays["REF_forces"] for atoms in frames])
    return np.sqrt(
        np.mean(np.square(found - np.concatenate([a.arrays["REF_forces"] for a in reference])))
    )


@pytest.mark.parametrize("host", HOSTS)
def test_a_killed_run_goes_on_and_the_correction_helps(host, weak, files):
    command = [sys.executable, "-m", "piwsl_plugins", "weak", "train.xyz", "pool.xyz"]
    command += ["--out", "weak.xyz", *CHEAP, "--models", "2", "--train", COMMANDS[host]]
    running = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL
    )
    second = Path("weak.stages/correction_1/training.log")
    while not second.exists():
        assert running.poll() is None and time.sleep(0.1) is None
    running.send_signal(signal.SIGKILL)
    running.wait()
    first = Path("weak.stages/correction_0/model.json").read_bytes()
    found, printed = weak(*CHEAP, "--models", 2, "--train", COMMANDS[host])
    assert Path("weak.stages/correction_0/model.json").read_bytes() == first
    assert "corrected" in printed and "2 held-out frames" in printed
    whole, _ = weak(*CHEAP, "--models", 2, "--train", COMMANDS[host], out="whole.xyz")
    for one, other in zip(found, whole, strict=True):
        assert one.info == other.info
        assert np.array_equal(one.arrays["REF_forces"], other.arrays["REF_forces"])
    before, after = errors(bundled("gfn1_hot", ":12")), errors(found)
    assert after < 0.8 * before, (before, after)


@pytest.mark.parametrize("host", HOSTS)
def test_a_training_that_fails_shows_its_last_lines(host, refused):
    wrong = {"mace": " --no_such_option=3", "nequip": " training_module.no_such=3"}[host]
    error = refused(*CHEAP, "--models", 2, "--train", COMMANDS[host] + wrong, exit_code=1)
    assert "training correction 1 of 2 failed" in error and "no_such" in error
    assert not Path("weak.xyz").exists() and Path("weak.stages/correction_0/train.xyz").exists()


def test_the_hosts_get_frames_without_offsets(weak):
    weak(*CHEAP, "--until", "correction")
    for path in Path("weak.stages").glob("correction_*/train.xyz"):
        mean = np.mean([atoms.info["REF_energy"] for atoms in ase.io.read(path, ":")])
        assert abs(mean) < 1e-6


@pytest.mark.skipif(importlib.util.find_spec("mace") is None, reason="needs the mace extra")
def test_corrections_of_two_cut_offs_are_refused(refused):
    import torch

    from ..mace_files import tiny_model

    tiny_model(Path("a.model"))
    other = torch.load("a.model", weights_only=False)
    other.r_max.fill_(float(other.r_max) + 1.0)
    torch.save(other, "b.model")
    error = refused(*CHEAP, "--corrections", "a.model", "b.model")
    assert "a.model has a cut-off of" in error and "b.model one of" in error
    assert not Path("weak.stages/given_0").exists()
