"""Comparison of the hosts' own tests with and without this package (``make host-tests``)."""

import subprocess
import sys
from pathlib import Path

import pytest

from ..hosts import suites
from ..hosts.with_piwsl import with_piwsl

TESTS = """
import os, pytest
with_package = os.environ.get("WITH") == "1"
def test_same(): pass
def test_changed(): assert not with_package
def test_always_failing(): assert False
@pytest.mark.skip
def test_skipped(): pass
if not with_package:
    def test_gone(): pass
@pytest.fixture
def broken(): raise OSError
def test_error(broken): pass
"""


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A suite in which this package breaks a test, without and with it."""
    (tmp_path / "test_some.py").write_text(TESTS)
    found = {}
    for name, value in ((suites.WITHOUT, "0"), (suites.WITH, "1")):
        monkeypatch.setenv("WITH", value)
        junit = tmp_path / f"{name}.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={junit}", str(tmp_path)]
        subprocess.run(command, capture_output=True, cwd=tmp_path)
        found[name] = suites.outcomes(junit)
    return found


def test_a_test_that_ends_otherwise_is_named(runs):
    text, agree = suites.summary("mace-torch 1", runs)
    assert not agree
    assert "| without | 3 | 1 | 1 | 1 |" in text and "| with | 1 | 2 | 1 | 1 |" in text
    assert "with, other than without: 2" in text
    assert "test_some::test_changed: passed, then failure" in text
    assert "test_some::test_gone: not run" in text
    assert "test_some::test_always_failing" in text.split("Failed without this package: 2")[1]


def test_equal_outcomes_agree(runs):
    first = runs[suites.WITHOUT]
    some = {name: kind for name, kind in first.items() if "same" in name}
    text, agree = suites.summary("", {suites.WITHOUT: first, suites.WITH_LOSS: some})
    assert agree and "other than without: none" in text
    assert not suites.summary("", {suites.WITHOUT: first, suites.WITH: some})[1]


def test_only_trainings_with_an_energy_get_our_loss():
    script = "/somewhere/mace/cli/run_train.py"
    plain = ["python", script, "--name=a"]
    ours = ["--loss=piwsl", "--piwsl_base_loss=weighted", "--piwsl_pitc_weight=0"]
    assert with_piwsl(plain) == [*plain, *ours]
    assert with_piwsl([*plain, "--loss=stress"])[3:5] == [ours[0], "--piwsl_base_loss=stress"]
    for other in ([*plain, "--loss=dipole"], ["python", "preprocess_data.py"], "a string"):
        assert with_piwsl(other) == other


def test_a_checkout_without_tests_is_refused(tmp_path):
    command = [sys.executable, Path(suites.__file__), "mace", "--python", sys.executable]
    command += ["--out", tmp_path / "out", "--source", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "there is no folder tests in it" in done.stderr
