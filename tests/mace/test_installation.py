"""Wheel, editable install and uninstall; what the start-up file costs and loads."""

import py_compile
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STARTUP_FILES = ("piwsl_plugins.pth", "piwsl_plugins.start")
IS_INSTALLED = """
import sys
print("piwsl_plugins.mace._startup" in [getattr(f, "__module__", "") for f in sys.meta_path])
"""


def pip(*arguments):
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run(python, code):
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout.strip()


def build(kind, folder):
    """The wheel that ``pip install`` or ``pip install --editable`` makes and installs."""
    code = (
        "import sys; from hatchling import build\n"
        "make = {'wheel': build.build_wheel, 'editable': build.build_editable}[sys.argv[1]]\n"
        "print(make(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, kind, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return folder / done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_install_and_uninstall(kind, tmp_path):
    venv.create(tmp_path / "environment", with_pip=False)
    python = tmp_path / "environment" / "bin" / "python"
    (site,) = (tmp_path / "environment" / "lib").glob("*/site-packages")
    (site / "other.txt").write_text("pip removes the folder with its last file")
    pip(f"--python={python}", "install", "--no-deps", str(build(kind, tmp_path)))

    assert all((site / name).exists() for name in STARTUP_FILES)
    assert run(python, IS_INSTALLED) == "True"
    loaded = run(python, "import sys; print({'torch', 'numpy', 'mace', 'ase'} & set(sys.modules))")
    assert loaded == "set()"
    assert run(python, "import piwsl_plugins; print(piwsl_plugins.__version__)")

    pip(f"--python={python}", "uninstall", "--yes", "piwsl-plugins")
    assert [path.name for path in site.iterdir()] == ["other.txt"]
    assert run(python, IS_INSTALLED) == "False"


@pytest.mark.parametrize(("value", "expected"), [("1", "False"), ("0", "True"), ("", "True")])
def test_environment_variable_switches_the_hook_off(value, expected):
    done = subprocess.run(
        [sys.executable, "-c", IS_INSTALLED],
        env={"PIWSL_PLUGINS_DISABLE": value},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == expected


def test_start_up_takes_less_than_a_millisecond(tmp_path):
    """The line of the start-up file, timed in fresh interpreters without any start-up file."""
    for name in ("__init__.py", "mace/__init__.py", "mace/_startup.py"):
        copy = tmp_path / "piwsl_plugins" / name
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "piwsl_plugins" / name, copy)
        py_compile.compile(str(copy))  # as pip does
    line = (ROOT / "piwsl_plugins.pth").read_text()
    code = (
        f"import os, sys, time; sys.path.insert(0, {str(tmp_path)!r})  # os: as site has it\n"
        "start = time.perf_counter()\n"
        f"{line}\n"
        "print(time.perf_counter() - start)"
    )
    times = [
        float(subprocess.run([sys.executable, "-S", "-c", code], stdout=-1, text=True).stdout)
        for _ in range(15)
    ]
    print(f"start-up: {1e3 * min(times):.2f} ms")
    assert min(times) < 1e-3, "other processes can only add to it"


def test_the_new_start_file_names_the_same_function():
    """PEP 829: Python 3.15 reads ``module:function`` lines from a .start file."""
    module, function = (ROOT / "piwsl_plugins.start").read_text().strip().split(":")
    __import__(module)
    assert callable(getattr(sys.modules[module], function))
    assert f"{module}.{function}()" in (ROOT / "piwsl_plugins.pth").read_text()
