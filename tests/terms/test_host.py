"""The third framework passes the conformance suite: a new one is a small folder."""

import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from piwsl_plugins.testing import HostConformance

from . import pair_framework, pair_potential
from .pair_framework import PairFramework

ROOT = Path(__file__).parents[2]
SUBCLASS = """
import pytest
from piwsl_plugins.testing import HostConformance
from .pair_framework import PairFramework

class TestPairPotential(HostConformance):
    @pytest.fixture
    def small_model(self):
        return PairFramework()
"""
#: the conftest of that package: of each test the first case, as all of them run above
HEADER = """
import piwsl_plugins.testing

def pytest_report_header():
    return f"suite: {piwsl_plugins.testing.__file__}"

def pytest_collection_modifyitems(config, items):
    first = {item.originalname: item for item in reversed(items)}
    config.hook.pytest_deselected(items=[item for item in items if item not in first.values()])
    items[:] = [item for item in items if item in first.values()]
"""


class TestPairPotential(HostConformance):
    @pytest.fixture
    def small_model(self):
        return PairFramework()


def test_the_third_framework_is_small():
    lines = Path(pair_potential.__file__).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150


def test_nothing_else_of_the_package_imports_the_suite_or_pytest():
    imported = re.compile(r"^\s*(?:from|import)\b.*\b(?:pytest|testing)\b", re.MULTILINE)
    package = ROOT / "piwsl_plugins"
    modules = [path for path in package.rglob("*.py") if package / "testing" not in path.parents]
    found = [path.name for path in modules if imported.search(path.read_text(encoding="utf-8"))]
    assert len(modules) > 50 and not found


def cases_of(test):
    """How many tests a parametrised function is."""
    return math.prod(len(mark.args[1]) for mark in getattr(test, "pytestmark", ()))


@pytest.mark.slow
def test_a_package_of_its_own_passes_the_suite_of_an_installed_wheel(tmp_path):
    """Two files and a subclass in an empty folder; of this checkout nothing is within reach."""
    installed, package = tmp_path / "installed", tmp_path / "work" / "pair"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--no-deps", "--no-index", "--no-build-isolation", f"--target={installed}"]
    subprocess.run([*pip, str(ROOT)], check=True)
    package.mkdir(parents=True)
    for module in (pair_potential, pair_framework):
        shutil.copy(module.__file__, package)
    (package / "__init__.py").touch()
    (package.parent / "conftest.py").write_text(HEADER)
    (package / "test_pair.py").write_text(SUBCLASS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider"],
        cwd=package.parent,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"suite: {installed / 'piwsl_plugins' / 'testing' / '__init__.py'}" in done.stdout
    suite = [name for name in dir(HostConformance) if name.startswith("test_")]
    n_left_out = sum(cases_of(getattr(HostConformance, name)) - 1 for name in suite)
    (summary,) = re.findall(r"=+ (.+) in [\d.:() ]+s.* =+$", done.stdout.strip())
    assert summary == f"{len(suite)} passed, {n_left_out} deselected"
