"""Whole runs: what is in the file, in parallel, after a kill, and what is left out."""

import collections
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase.io import read, write

from .conftest import SHORT, rattled_ethanol


def test_each_structure_says_where_it_comes_from(pool, data):
    frames, printed = pool(data, "springs")
    given = read(data, ":")
    counts = collections.Counter(frame.info["pool_temperature"] for frame in frames)
    assert counts == {300: 6, 500: 6}
    # the isolated atom (0) and the second copy of frame 5 (6) begin nothing
    assert {frame.info["pool_start"] for frame in frames} <= {1, 2, 3, 4, 5}
    for frame in frames:
        start = given[frame.info["pool_start"]]
        assert np.array_equal(frame.numbers, start.numbers)
        assert frame.info.get("config_type") == start.info.get("config_type")
        assert frame.info.get("charge") == start.info.get("charge")
        assert frame.info["pool_time"] in (15, 20, 25)
        assert not frame.pbc.any() and frame.calc is None
        assert "REF_energy" not in frame.info and "REF_forces" not in frame.arrays
    assert "12 structures\n  300 K: 6 structures of 2 runs from 2 frames" in printed
    assert "1 single atoms left out" in printed and "1 repeated frames used once" in printed
    assert "piwsl select" in printed and "piwsl weak" in printed


def test_structures_are_as_far_apart_as_wanted(pool, data):
    """A trajectory of dense structures holds the sparse one's."""
    common = ("--temperatures", 300, "--index", 1, "--equilibration", 0)
    dense, _ = pool(data, "springs", *common, "--n", 8, "--per_run", 8, out="dense.xyz")
    sparse, _ = pool(
        *(data, "springs", *common, "--n", 4, "--per_run", 4, "--spacing", 10), out="sparse.xyz"
    )
    assert [frame.info["pool_time"] for frame in dense] == [5 * n for n in range(1, 9)]
    assert [frame.info["pool_time"] for frame in sparse] == [10, 20, 30, 40]
    for frame, twin in zip(sparse, dense[1::2], strict=True):
        assert np.array_equal(frame.positions, twin.positions)


@pytest.mark.parametrize(("equilibration", "warned"), [(10, True), (400, False)])
def test_short_equilibrations_are_warned_of(equilibration, warned, pool, data):
    """Harmonic: half of the kinetic energy goes to the potential, and comes with the friction."""
    given = ("--temperatures", 300, "--n", 40, "--per_run", 20, "--friction", 0.01, "--relax")
    frames, printed = pool(data, "springs", *given, "--equilibration", equilibration)
    assert ("1/--friction" in printed) == warned and len(frames) == 40
    assert "--n 20 --out chosen.xyz" in printed


def test_labels_are_those_of_the_calculator(pool, data):
    from .known_dynamics import Springs

    frames, printed = pool(data, "springs", "--labels")
    assert "labels of known_dynamics:springs" in printed and "piwsl select" not in printed
    for frame in frames:
        assert frame.info["REF_energy"] > 0
        energy, forces = frame.info["REF_energy"], frame.arrays["REF_forces"]
        frame.calc = Springs()
        assert frame.get_potential_energy() == pytest.approx(energy, abs=1e-5)
        assert np.abs(frame.get_forces() - forces).max() < 1e-5


def test_cells_carry_their_stress(pool, tmp_path):
    from ase.build import bulk

    write(tmp_path / "cells.xyz", [bulk("Cu", a=3.7, cubic=True) * 2], format="extxyz")
    frames, printed = pool(
        *(tmp_path / "cells.xyz", "crystal", "--labels", "--timestep", 2, "--pressure", 0),
        *("--spacing", 10),
    )
    assert all(frame.pbc.all() for frame in frames)
    assert all(frame.info["REF_stress"].shape == (6,) for frame in frames)
    assert len({frame.get_volume() for frame in frames}) == 12
    assert all(np.allclose(frame.cell.angles(), 90) for frame in frames)
    assert "Cu–Cu" in printed and "volume per atom (Å³): starts 12.66 to 12.66, pool" in printed


def test_frames_that_are_held_out_never_enter(pool, data, tmp_path):
    whole, _ = pool(data, "springs", out="whole.xyz")
    held_out = [*whole[:2], read(data, "1")]
    write(tmp_path / "test.xyz", held_out, format="extxyz")
    frames, printed = pool(data, "springs", "--exclude", tmp_path / "test.xyz")
    places = {frame.positions.round(4).tobytes() for frame in held_out}
    assert len(frames) == 12
    assert not places & {frame.positions.round(4).tobytes() for frame in frames}
    assert 1 not in {frame.info["pool_start"] for frame in frames}
    assert "1 frames not begun at" in printed


def test_an_ion_or_another_cell_is_no_repetition(tmp_path):
    """Neither among the frames to begin at, nor beside the excluded ones, nor in the pool."""
    from piwsl_plugins.tools.pool.collection import Collection
    from piwsl_plugins.tools.pool.plan import Trajectory
    from piwsl_plugins.tools.pool.starts import read_starts

    neutral = rattled_ethanol(0)
    ion, cell = neutral.copy(), neutral.copy()
    ion.info |= {"total_charge": 1, "total_spin": 2}
    cell.set_cell([9, 9, 9])
    cell.pbc = True
    write(tmp_path / "train.xyz", [neutral, ion, cell, neutral], format="extxyz")
    starts = read_starts(tmp_path / "train.xyz", ":", [], cells=False)
    assert list(starts.frames) == [0, 1, 2] and starts.notes == ["1 repeated frames used once"]
    write(tmp_path / "test.xyz", ion, format="extxyz")
    starts = read_starts(tmp_path / "train.xyz", ":", [tmp_path / "test.xyz"], cells=False)
    assert list(starts.frames) == [0, 2] and len(starts.taken) == 5
    collection = Collection([])
    one = {"times": [0.0], "kinetic_temperatures": [300.0], "energies": [0.0]}
    for atoms in (neutral, ion, cell, ion):
        place = {"cells": [atoms.cell.array], "positions": [atoms.positions]}
        arrays = {k: np.array(v) for k, v in {**one, **place, "forces": [atoms.positions]}.items()}
        collection.add(Trajectory(atoms, "frame"), arrays)
    assert (len(collection.structures), collection.n_left_out) == (3, 1)


def test_charge_and_spin_are_kept_by_the_names_that_they_had(pool, tmp_path):
    ions = [rattled_ethanol(0), rattled_ethanol(1)]
    ions[0].info |= {"total_charge": 1, "total_spin": 2}
    ions[1].info |= {"charge": -1, "spin": 2}
    write(tmp_path / "train.xyz", ions, format="extxyz")
    frames, _ = pool(tmp_path / "train.xyz", "springs")
    names = {"total_charge", "total_spin", "charge", "spin"}
    for atoms in frames:
        expected = ions[atoms.info["pool_start"]].info
        assert {n: v for n, v in atoms.info.items() if n in names} == expected
    assert {atoms.info["pool_start"] for atoms in frames} == {0, 1}


def test_constraints_are_not_kept_and_a_line_says_so(pool, tmp_path):
    from ase.constraints import FixAtoms

    fixed = rattled_ethanol(0)
    fixed.set_constraint(FixAtoms([0]))
    write(tmp_path / "train.xyz", [fixed, rattled_ethanol(1)], format="extxyz")
    frames, printed = pool(tmp_path / "train.xyz", "springs")
    assert printed.count("1 frames with constraints, which the dynamics do not keep") == 1
    moved = [f for f in frames if f.info["pool_start"] == 0]
    assert moved and all(np.abs(f.positions[0] - fixed.positions[0]).max() > 1e-3 for f in moved)


def test_structures_that_are_left_out_are_made_up_for(pool, data, tmp_path):
    """Every structure of a pool is excluded: the same runs give none, further ones do."""
    one = ("--index", 1, "--temperatures", 300, "--n", 3)
    first, _ = pool(data, "springs", *one, out="first.xyz")
    write(tmp_path / "test.xyz", first, format="extxyz")
    second, printed = pool(data, "springs", *one, "--exclude", tmp_path / "test.xyz")
    assert len(second) == 3 and "3 structures left out: given, excluded or repeated" in printed
    assert not {f.positions.tobytes() for f in first} & {f.positions.tobytes() for f in second}


def test_a_broken_bond_cuts_at_the_last_sound_structure(pool, data):
    long = ("--n", 20, "--per_run", 10, "--equilibration", 0)
    frames, printed = pool(data, "pulled", *long)
    reach = [frame.get_distances(8, [0, 1, 2]).min() for frame in frames]
    # the hydrogen belongs to carbon: 1.5 times the sum of the radii
    assert max(reach) < 1.5 * (0.31 + 0.76)
    assert 0 < len(frames) < 20
    assert "runs cut at the last sound structure:" in printed and "C–H bond broken" in printed
    assert f"{len(frames)} structures, 20 wanted" in printed and "WARNING: fewer" in printed
    free, printed = pool(data, "pulled", *long, "--allow_reactions", out="free.xyz")
    assert "bond broken" not in printed
    assert max(frame.get_distances(8, [0, 1, 2]).min() for frame in free) > 2


def test_frames_on_which_the_calculator_fails_are_counted(pool, tmp_path):
    frames = [rattled_ethanol(seed) for seed in range(4)]
    frames[0].positions += 10
    frames[2].positions += 10
    write(tmp_path / "train.xyz", frames, format="extxyz")
    made, printed = pool(tmp_path / "train.xyz", "failing")
    assert len(made) == 12 and {frame.info["pool_start"] for frame in made} == {1, 3}
    assert "2 frames passed over, on which the calculator failed" in printed
    assert "train.xyz frame 2: RuntimeError: no convergence" in printed


def test_linear_molecules(tmp_path, capfd):
    from ase.build import molecule

    from piwsl_plugins.tools.command import main

    write(tmp_path / "h2.xyz", molecule("H2"), format="extxyz")
    given = [tmp_path / "h2.xyz", "--calculator", "ase.calculators.emt:EMT", *SHORT]
    assert main(["pool", *map(str, given), "--out", str(tmp_path / "pool.xyz")]) == 0
    assert len(read(tmp_path / "pool.xyz", ":")) == 12
    assert "Warning" not in capfd.readouterr().err


def test_the_seed_decides(pool, data, tmp_path):
    pool(data, "springs", out="a.xyz")
    pool(data, "springs", out="b.xyz")
    pool(data, "springs", "--seed", 1, out="c.xyz")
    a, b, c = ((tmp_path / f"{name}.xyz").read_bytes() for name in "abc")
    assert a == b != c


def test_workers_do_not_change_a_byte(pool, data, tmp_path):
    pool(data, "springs", out="one.xyz")
    pool(data, "springs", "--workers", 2, out="two.xyz")
    assert (tmp_path / "one.xyz").read_bytes() == (tmp_path / "two.xyz").read_bytes()


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_file(pool, data, tmp_path, monkeypatch):
    monkeypatch.setenv("COUNT_FILE", str(tmp_path / "count"))
    counted = tmp_path / "count"
    longer = ("--spacing", 40)
    pool(data, "slow", *longer, out="whole.xyz")
    n_whole = counted.stat().st_size
    counted.unlink()
    given = [data, "--calculator", "known_dynamics:slow", *SHORT, *longer]
    command = [sys.executable, "-m", "piwsl_plugins", "pool", *map(str, given)]
    partial = tmp_path / "pool.xyz.partial"
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "pool.xyz")],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while not list(partial.glob("*.npz")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(partial.glob("*.npz")) and not (tmp_path / "pool.xyz").exists()
    counted.unlink()
    _, printed = pool(data, "slow", *longer)
    assert "runs were finished before" in printed
    assert counted.stat().st_size < n_whole
    assert (tmp_path / "pool.xyz").read_bytes() == (tmp_path / "whole.xyz").read_bytes()
    assert not partial.exists()


def test_the_figure(pool, data, tmp_path):
    _, printed = pool(data, "springs", "--figure", tmp_path / "pool.png")
    assert (tmp_path / "pool.png").read_bytes()[:4] == b"\x89PNG"
    assert f"Figure: {tmp_path / 'pool.png'}" in printed
