import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.io import read, write

from piwsl_plugins.tools.command import main
from piwsl_plugins.tools.select.features import Features


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")


def rattled(name="CH3CH2OH", seed=0, width=0.08):
    atoms = molecule(name)
    atoms.rattle(width, seed=seed)
    return atoms


def labelled(atoms, number):
    """With labels of every kind that a pool may carry."""
    atoms.info |= {"REF_energy": float(number), "config_type": "made", "charge": 0}
    atoms.set_array("REF_forces", np.full((len(atoms), 3), float(number)))
    return atoms


@pytest.fixture
def frames():
    """Molecules of two kinds, crystals, a slab and an isolated atom."""
    made = [rattled(seed=seed) for seed in range(12)]
    made += [rattled("CH3OH", seed=seed) for seed in range(6)]
    for seed in range(4):
        crystal = bulk("Cu", cubic=True)
        crystal.rattle(0.1, seed=seed)
        made.append(crystal)
    slab = fcc111("Cu", (1, 1, 3), vacuum=None)
    slab.pbc = (True, True, False)
    return [labelled(atoms, number) for number, atoms in enumerate([*made, slab, Atoms("C")])]


@pytest.fixture
def pool(frames, tmp_path):
    write(tmp_path / "pool.xyz", frames, format="extxyz")
    return tmp_path / "pool.xyz"


@pytest.fixture
def select(tmp_path, capsys):
    """Runs the command, which must succeed; gives the chosen frames and what it printed."""

    def run(*arguments, out="chosen.xyz"):
        arguments = list(map(str, arguments))
        out = tmp_path / out
        if out is not None and "0" not in arguments[1:3]:
            arguments += ["--out", str(out)]
        status = main(["select", *arguments])
        printed = capsys.readouterr()
        assert status == 0, printed.err
        return (read(out, ":") if out.exists() else []), printed.out

    return run


@pytest.fixture
def refused(capsys):
    """Runs the command and gives its error, which must be one line."""

    def run(*arguments, exit_code=2):
        assert main(["select", *map(str, arguments)]) == exit_code
        error = capsys.readouterr().err
        assert error.startswith("piwsl select: ") and error.count("\n") == 1
        return error

    return run


def random_features(structures=40, elements=(1, 6), components=5, seed=0, base=10.0):
    """Structures of 0 to 4 atoms of each element, with rows of very different lengths."""
    random = np.random.default_rng(seed)
    rows, starts = {}, {}
    for z in elements:
        counts = random.integers(0, 5, structures)
        starts[z] = np.concatenate([[0], np.cumsum(counts)])
        scales = float(base) ** -np.arange(components)
        made = random.normal(size=(counts.sum(), components)) * scales
        rows[z] = np.hstack([np.ones((len(made), 1)), made]).astype(np.float32)
    return Features(rows, starts)
