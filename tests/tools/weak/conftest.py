from pathlib import Path

import ase.io
import pytest

from piwsl_plugins.tools.command import main

DATA = Path(__file__).parents[3] / "data"


@pytest.fixture(autouse=True)
def importable_calculators(monkeypatch):
    # worker processes of the command take over sys.path
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def bundled(name, index):
    return ase.io.read(DATA / f"ethanol_{name}.xyz", index)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Ten expensive frames and a pool of twelve, and GFN1-xTB's labels of both."""
    monkeypatch.chdir(tmp_path)
    ase.io.write("train.xyz", bundled("gfn2_train", ":13"))  # three isolated atoms first
    ase.io.write("pool.xyz", bundled("gfn2_hot", ":12"))
    ase.io.write("cheap.xyz", bundled("gfn1_train", ":13") + bundled("gfn1_hot", ":12"))
    return tmp_path


@pytest.fixture
def weak(files, capsys):
    """Runs the command, which must succeed; gives the weak frames and what it printed."""

    def run(*arguments, out="weak.xyz"):
        status = main(["weak", "train.xyz", "pool.xyz", "--out", out, *map(str, arguments)])
        printed = capsys.readouterr()
        assert status == 0, printed.err
        return ase.io.read(out, ":") if Path(out).exists() else [], printed.out

    return run


@pytest.fixture
def refused(files, capsys):
    """Runs the command and gives its error."""

    def run(*arguments, exit_code=2, training="train.xyz", pool="pool.xyz"):
        status = main(["weak", training, pool, "--out", "weak.xyz", *map(str, arguments)])
        error = capsys.readouterr().err
        assert status == exit_code, error
        assert "piwsl weak: " in error and "Traceback" not in error
        return error

    return run
