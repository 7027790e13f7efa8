from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write

from piwsl_plugins.labels.hessian_labels import read_labels
from piwsl_plugins.tools.command import main


@pytest.fixture(autouse=True)
def importable_calculators(monkeypatch):
    # worker processes of the command take over sys.path
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def rattled_ethanol(seed):
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=seed)
    return atoms


def rattled_crystal(cells=1, seed=0):
    atoms = bulk("Cu", cubic=True) * (cells, cells, 1)
    atoms.symbols[::3] = "Au"
    atoms.rattle(0.1, seed=seed)
    return atoms


@pytest.fixture
def frames():
    """An isolated atom, molecules, periodic crystals of 4 and 16 atoms, one frame twice."""
    made = [Atoms("C"), rattled_ethanol(0), rattled_crystal(), rattled_ethanol(1)]
    return [*made, rattled_crystal(cells=2), made[1].copy()]


@pytest.fixture
def data(frames, tmp_path):
    write(tmp_path / "train.xyz", frames, format="extxyz")
    return tmp_path / "train.xyz"


@pytest.fixture
def labelled(tmp_path, capsys):
    """Runs the command, which must succeed; gives the labels and what it printed."""

    def run(*arguments, out="labels.npz"):
        status = main(["hessian", *map(str, arguments), "--out", str(tmp_path / out)])
        printed = capsys.readouterr()
        assert status == 0, printed.err
        return read_labels(tmp_path / out), printed.out

    return run


@pytest.fixture
def refused(tmp_path, capsys):
    """Runs the command and gives its error, which must be one line."""

    def run(*arguments, out="labels.npz", exit_code=2):
        assert main(["hessian", *map(str, arguments), "--out", str(tmp_path / out)]) == exit_code
        error = capsys.readouterr().err
        assert error.startswith("piwsl hessian: ") and error.count("\n") == 1
        return error

    return run
