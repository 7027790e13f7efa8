"""Which unlabelled structures go with which step."""

import itertools

import ase
import ase.io
import pytest

from piwsl_plugins.core.pool import choose, read_pool
from piwsl_plugins.core.settings import SettingsError


def flat_list(lists):
    return list(itertools.chain(*lists))


def test_each_pass_shows_every_structure_once_in_a_new_order():
    steps = [choose(7, 3, seed=1, step=step) for step in range(14)]
    flat = flat_list(steps)
    passes = [flat[i : i + 7] for i in range(0, 42, 7)]
    assert all(sorted(one) == list(range(7)) for one in passes)
    assert len({tuple(one) for one in passes}) > 1
    assert steps == [choose(7, 3, seed=1, step=step) for step in range(14)]
    assert steps != [choose(7, 3, seed=2, step=step) for step in range(14)]


def test_two_ranks_share_what_one_would_see():
    one = [choose(10, 4, seed=0, step=step) for step in range(5)]
    two = [choose(10, 2, 0, step, rank, 2) for step in range(5) for rank in range(2)]
    assert flat_list(one) == flat_list(two)


def test_more_structures_than_the_pool_has():
    assert sorted(choose(2, 5, seed=0, step=0))[:2] == [0, 0]


def test_single_atoms_carry_no_terms(tmp_path):
    ase.io.write(tmp_path / "pool.xyz", [ase.Atoms("H"), ase.Atoms("OH", [[0, 0, 0], [0, 0, 1]])])
    (atoms,) = read_pool(tmp_path / "pool.xyz")
    assert atoms.get_chemical_formula() == "HO"
    ase.io.write(tmp_path / "atom.xyz", [ase.Atoms("H")])
    (tmp_path / "text.xyz").write_text("no structure at all")
    for name in ("missing.xyz", "atom.xyz", "text.xyz"):
        with pytest.raises(SettingsError) as caught:
            read_pool(tmp_path / name)
        assert caught.value.name == "unlabeled_file"
