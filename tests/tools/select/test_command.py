"""The command on files: what it writes, says and refuses."""

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write

from piwsl_plugins.tools.select import features as features_module

TURN = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
TURN *= np.linalg.det(TURN)


def numbers(chosen):
    return [atoms.info["select_index"] for atoms in chosen]


def test_frames_are_those_of_the_pool_in_the_order_chosen(select, pool, frames, tmp_path):
    rest = tmp_path / "rest.xyz"
    chosen, printed = select(pool, "--n", 6, "--rest", rest)
    assert [atoms.info["select_rank"] for atoms in chosen] == [1, 2, 3, 4, 5, 6]
    gains = [atoms.info["select_gain"] for atoms in chosen]
    assert gains == sorted(gains, reverse=True) and gains[-1] > 0
    for atoms in chosen:
        original = frames[atoms.info["select_index"]]
        assert np.allclose(atoms.positions, original.positions, atol=1e-8)
        assert np.array_equal(atoms.pbc, original.pbc)
        assert np.array_equal(atoms.arrays["REF_forces"], original.arrays["REF_forces"])
        for name in ("REF_energy", "config_type", "charge"):
            assert atoms.info[name] == original.info[name]
    energies = {atoms.info["REF_energy"] for atoms in read(rest, ":")}
    assert energies == set(range(len(frames))) - set(numbers(chosen))
    assert f"{len(frames)} structures, {len(frames)} to choose from" in printed


def moved(atoms, seed):
    """Turned, shifted, its atoms in another order."""
    atoms = atoms.copy()
    order = np.random.default_rng(seed).permutation(len(atoms))
    atoms = atoms[order]
    atoms.positions = atoms.positions @ TURN
    atoms.cell = atoms.cell.array @ TURN
    if atoms.pbc.all():
        atoms.positions += (0.3, -1.7, 2.2)
        atoms.wrap()
    return atoms


@pytest.mark.parametrize("method", ["d_optimal", "fps"])
def test_turned_shifted_and_permuted_structures_are_the_same_choice(
    select, pool, frames, tmp_path, method
):
    chosen, _ = select(pool, "--n", 5, "--method", method)
    order = np.random.default_rng(2).permutation(len(frames))
    write(tmp_path / "moved.xyz", [moved(frames[n], n) for n in order], format="extxyz")
    again, _ = select(tmp_path / "moved.xyz", "--n", 5, "--method", method, out="again.xyz")
    assert [order[n] for n in numbers(again)] == numbers(chosen)
    for before, after in zip(chosen, again):
        assert after.info["select_gain"] == pytest.approx(before.info["select_gain"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["d_optimal", "fps", "random"])
def test_order_chunks_and_workers_change_nothing(
    select, pool, frames, tmp_path, method, monkeypatch
):
    options = ("--n", 5, "--method", method)
    chosen, _ = select(pool, *options)
    write(tmp_path / "reversed.xyz", frames[::-1], format="extxyz")
    again, _ = select(tmp_path / "reversed.xyz", *options, out="again.xyz")
    assert [len(frames) - 1 - n for n in numbers(again)] == numbers(chosen)
    # a chunk of 7; components from few atoms, so that most structures are reduced at once
    monkeypatch.setattr(features_module, "CHUNK", 7)
    few, _ = select(pool, *options, out="few.xyz")
    assert numbers(few) == numbers(chosen)
    assert [a.info["select_gain"] for a in few] == [a.info["select_gain"] for a in chosen]
    if method == "d_optimal":
        workers, _ = select(pool, *options, "--workers", 2, out="workers.xyz")
        assert [a.info for a in workers] == [a.info for a in chosen]


def test_components_from_a_part_of_the_structures(select, pool, monkeypatch):
    _, printed = select(pool, "--n", 5)
    monkeypatch.setattr(features_module, "_FITTED_ATOMS", 1)
    few, printed_few = select(pool, "--n", 5, out="few.xyz")
    assert len(few) == 5 and "Cu" in printed_few and printed_few != printed


def test_what_is_given_or_there_twice_is_never_chosen(select, frames, tmp_path):
    twice = frames[2].copy()
    twice.info["REF_energy"] = 99.0
    write(tmp_path / "pool.xyz", [*frames, twice, frames[3]], format="extxyz")
    write(tmp_path / "train.xyz", frames[:8:2], format="extxyz")
    given = ("--given", tmp_path / "train.xyz")
    everything = len(frames) - 4
    chosen, printed = select(tmp_path / "pool.xyz", "--n", everything, *given)
    # 0, 2, 4 and 6 are given, 2 is there twice; so is 3, which is not given
    assert sorted(numbers(chosen)) == sorted(set(range(len(frames))) - {0, 2, 4, 6})
    assert f"{everything} to choose from; left out: 5 identical to given ones, 1 rep" in printed


def test_given_structures_count_in(select, pool, frames, tmp_path):
    alone, _ = select(pool, "--n", 4)
    best = numbers(alone)[0]
    # not identical, but of the same environments as the best choice
    write(tmp_path / "train.xyz", moved(frames[best], 0), format="extxyz")
    write(tmp_path / "more.xyz", [moved(frames[best], seed) for seed in (1, 2)], format="extxyz")
    given = ("--given", tmp_path / "train.xyz", "--given", tmp_path / "more.xyz")
    chosen, printed = select(pool, "--n", 4, *given, out="with.xyz")
    assert best not in numbers(chosen) and "3 given + 4" in printed
    assert chosen[0].info["select_gain"] < alone[0].info["select_gain"]


def test_is_the_training_set_enough(select, pool, frames, tmp_path):
    write(tmp_path / "few.xyz", frames[:3], format="extxyz")
    figure = tmp_path / "enough.png"
    _, printed = select(pool, "--n", 0, "--given", tmp_path / "few.xyz", "--figure", figure)
    lines = {line.split()[0]: line.split() for line in printed.splitlines() if line.endswith("%")}
    assert lines["Cu"][1:3] == ["19", "100.0"] and figure.stat().st_size > 5000
    shares = {name: float(line[2]) for name, line in lines.items()}
    assert 0 < shares["all"] < 100
    _, printed = select(pool, "--n", 0, "--given", pool)
    assert printed.rstrip().endswith(" 0.0 %")


def test_files_with_other_digits_and_charges_hold_the_same_structures(select, frames, tmp_path):
    write(tmp_path / "pool.xyz", frames, format="extxyz")
    given = []
    for atoms in frames[:4]:
        atoms = atoms.copy()
        atoms.positions = atoms.positions.round(7)
        del atoms.info["charge"]
        given.append(atoms)
    frames[4].info["charge"] = 1
    given.append(frames[4].copy())
    write(tmp_path / "train.xyz", given, format="extxyz")
    chosen, printed = select(tmp_path / "pool.xyz", "--n", 20, "--given", tmp_path / "train.xyz")
    assert "left out: 4 identical to given ones" in printed
    # the ion is another structure than the molecule, although the environments are the same
    assert 4 in numbers(chosen) and not {0, 1, 2, 3} & set(numbers(chosen))


def test_what_is_said_of_the_information(select, pool, tmp_path):
    _, printed = select(pool, "--n", 8, "--method", "fps")
    best, _ = select(pool, "--n", 8, out="best.xyz")
    words = printed.splitlines()
    gained = float(words[2].split("information gained ")[1].split()[0])
    assert gained < sum(atoms.info["select_gain"] for atoms in best)
    assert words[3].startswith("8 random ones gain ") and words[4].endswith(" with the last")
    _, printed = select(pool, "--n", 8, "--method", "random", out="random.xyz")
    assert "random ones" not in printed
    write(tmp_path / "train.xyz", best[:4], format="extxyz")
    _, printed = select(pool, "--n", 4, "--given", tmp_path / "train.xyz", out="more.xyz")
    before = sum(atoms.info["select_gain"] for atoms in best[:4])
    assert f", after {before:.1f} of those given" in printed
    assert numbers(read(tmp_path / "more.xyz", ":")) == numbers(best[4:])


def test_figure_of_a_choice(select, pool, tmp_path):
    for number, ending, magic in ((8, "png", b"\x89PNG"), (1, "pdf", b"%PDF")):
        figure = tmp_path / f"chosen.{ending}"
        select(pool, "--n", number, "--figure", figure, out=f"{number}.xyz")
        assert figure.read_bytes().startswith(magic)


def test_identical_environments_leave_only_the_constant(select, tmp_path):
    atoms = [Atoms("Ar", [[float(shift), 0, 0]]) for shift in range(4)]
    write(tmp_path / "atoms.xyz", atoms)
    chosen, printed = select(tmp_path / "atoms.xyz", "--n", 2)
    assert "Ar 0" in printed
    # ln(1 + 1/λ), ln((2 + λ) / (1 + λ))
    expected = [np.log1p(1e4), np.log((2 + 1e-4) / (1 + 1e-4))]
    assert [a.info["select_gain"] for a in chosen] == pytest.approx(expected, abs=1e-6)
