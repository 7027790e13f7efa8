"""Data that cannot be right is named; all else passes."""

from pathlib import Path

import ase
import ase.build
import ase.io
import numpy as np
import pytest

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.frames.checks import problem_of_atoms
from piwsl_plugins.frames.reading import read_atoms

DATA = Path(__file__).parents[2] / "data"


def water():
    return ase.build.molecule("H2O")


def changed(change):
    atoms = water()
    change(atoms)
    return atoms


def bulk(**keywords):
    atoms = ase.build.bulk("Si", cubic=True)
    for name, value in keywords.items():
        setattr(atoms, name, value)
    return atoms


@pytest.mark.parametrize(
    ("atoms", "labels", "words"),
    [
        (changed(lambda a: a.positions.__setitem__((1, 2), np.nan)), {}, "position of atom 1"),
        (water(), {"energy": np.nan}, "'energy' is not finite"),
        (water(), {"forces": np.full((3, 3), np.inf)}, "'forces' is not finite"),
        (ase.Atoms(), {}, "no atoms"),
        (changed(lambda a: a.positions.__setitem__(1, a.positions[0])), {}, "atoms 0 and 1"),
        (bulk(cell=np.diag([5.0, 5.0, np.nan])), {}, "cell is not finite"),
        (
            ase.Atoms(
                "H2", [[0, 0, 0], [0, 0, 1]], cell=[[1, 0, 0], [2, 0, 0], [0, 0, 3]], pbc=True
            ),
            {},
            "do not span a volume",
        ),
        (ase.Atoms("H2", [[0, 0, 0.0], [0, 0, 5.0]], cell=[5, 5, 5], pbc=True), {}, "same place"),
    ],
)
def test_what_is_refused(atoms, labels, words):
    assert words in problem_of_atoms(atoms, **labels)


@pytest.mark.parametrize(
    "atoms",
    [
        water(),
        bulk(),
        ase.build.fcc111("Cu", (1, 1, 2), vacuum=None),
        ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.7]], pbc=[True, False, False], cell=[4, 0, 0]),
        ase.Atoms("H2", [[0, 0, 0.0], [0, 0, 5.0]], cell=[5, 5, 5], pbc=False),
        ase.Atoms("H2", [[0, 0, -1e-17], [0, 0, 2.5]], cell=[5, 5, 5], pbc=True),
    ],
)
def test_what_is_right(atoms):
    assert problem_of_atoms(atoms, energy=-1.0, forces=np.zeros((len(atoms), 3))) is None


def test_the_bundled_data_is_right():
    for path in sorted(DATA.glob("*.xyz")):
        assert read_atoms(path, "pool_file")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("no structure at all", "cannot read"),
        ("3\nProperties=species:S:1:pos:R:3\nH 0 0 0\nH 0 0 1", "cannot read"),
        (
            "2\n\nH 0 0 0\nH 0 0 1\n2\n\nH 0 0 nan\nH 0 0 1\n",
            r"frame 1 \(from 0\): the position of atom 0 is not finite",
        ),
    ],
)
def test_files_that_cannot_be_used(tmp_path, text, words):
    path = tmp_path / "pool.xyz"
    path.write_text(text)
    with pytest.raises(SettingsError, match=words) as caught:
        read_atoms(path, "pool_file")
    assert caught.value.name == "pool_file"
