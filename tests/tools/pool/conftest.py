from pathlib import Path

import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read, write

from piwsl_plugins.tools.command import main

#: a few steps instead of the defaults; one frame of the data is a cation
SHORT = (
    *("--charges", "ignored"),
    *("--temperatures", 300, 500, "--n", 12, "--per_run", 3),
    *("--equilibration", 10, "--spacing", 5),
)


@pytest.fixture(autouse=True)
def importable_calculators(monkeypatch):
    # worker processes of the command take over sys.path
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def rattled_ethanol(seed, size=0.03):
    atoms = molecule("CH3CH2OH")
    atoms.rattle(size, seed=seed)
    return atoms


@pytest.fixture
def data(tmp_path):
    """An isolated atom, five molecules, the last of them twice."""
    frames = [rattled_ethanol(seed) for seed in range(5)]
    frames[1].info |= {"config_type": "hot", "charge": 1}
    atom = Atoms("C", info={"config_type": "IsolatedAtom"})
    write(tmp_path / "train.xyz", [atom, *frames, frames[-1]], format="extxyz")
    return tmp_path / "train.xyz"


@pytest.fixture
def pool(tmp_path, capsys):
    """Runs the command, which must succeed; gives the pool and what was printed."""

    def run(data, calculator, *arguments, out="pool.xyz"):
        given = [data, "--calculator", f"known_dynamics:{calculator}", *SHORT, *arguments]
        status = main(["pool", *map(str, given), "--out", str(tmp_path / out)])
        printed = capsys.readouterr()
        assert status == 0, printed.err
        return read(tmp_path / out, ":"), printed.out

    return run


@pytest.fixture
def refused(tmp_path, capsys):
    """Runs the command and gives its error, which must be one line."""

    def run(data, calculator, *arguments, exit_code=2, out="pool.xyz"):
        given = [data, "--calculator", calculator, *SHORT, *arguments]
        status = main(["pool", *map(str, given), "--out", str(tmp_path / out)])
        error = capsys.readouterr().err
        assert status == exit_code, error
        assert error.startswith("piwsl pool: ") and error.count("\n") == 1, error
        return error

    return run
