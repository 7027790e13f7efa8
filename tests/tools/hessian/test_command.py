"""Whole runs: what is labelled how, in parallel, after a kill, and with failures."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.io import read, write

from piwsl_plugins.frames.reading import structure_of
from piwsl_plugins.labels.hessian_labels import read_labels
from piwsl_plugins.labels.hessian_lookup import HessianLabels

from .conftest import rattled_crystal, rattled_ethanol
from .known_hessians import known_hessian

EMT = ("--calculator", "known_hessians:emt")
COUNTING = ("--calculator", "known_hessians:counting")


@pytest.fixture
def count(tmp_path, monkeypatch):
    """Number of evaluations of the counting calculator so far."""
    monkeypatch.setenv("COUNT_FILE", str(tmp_path / "count"))
    return lambda: (tmp_path / "count").stat().st_size


def test_small_structures_get_hessians_and_large_ones_probes(labelled, data, frames):
    labels, printed = labelled(data, *EMT, "--max_hessian_atoms", 9, "--probes", 3)
    assert [len(label.numbers) for label in labels] == [9, 4, 9, 16]
    assert [label.hessian is not None for label in labels] == [True, True, True, False]
    assert labels[3].displacements.shape == (3, 16, 3)
    assert labels[3].force_changes.shape == (3, 16, 3)
    assert labels[3].curvatures is None
    assert np.array_equal(labels[1].numbers, frames[2].numbers)
    assert np.allclose(labels[1].positions, frames[2].positions, atol=1e-8)
    assert "4 structures: 3 with Hessian, 1 with probes" in printed
    assert "1 single atoms left out" in printed and "1 repeated frames" in printed
    assert "--piwsl_hessian_file=" in printed and "hessian_file: " in printed
    assert np.array_equal(labels[1].cell, frames[2].cell) and labels[1].pbc.all()


def test_labels_are_found_by_the_frames(labelled, data):
    labels = HessianLabels(labelled(data, *EMT)[0])
    for atoms in read(data, ":")[1:]:
        assert labels.find(structure_of(atoms)) is not None


def test_each_state_and_cell_has_a_label_of_its_own(labelled, tmp_path):
    neutral, cation, strained = rattled_crystal(), rattled_crystal(), rattled_crystal()
    cation.info |= {"total_charge": 1, "total_spin": 2}
    strained.cell[2, 2] *= 1.02
    path = tmp_path / "train.xyz"
    write(path, [neutral, cation, strained, cation], format="extxyz")
    labels, printed = labelled(path, *EMT, "--charges", "read")
    assert len(labels) == 3 and "1 repeated frames labelled once" in printed
    known = HessianLabels(labels)
    for number, atoms in enumerate((neutral, cation, strained)):
        assert known.index.find(structure_of(atoms)) == number
    assert (labels[1].charge, labels[1].spin) == (1.0, 2.0)


def test_the_numbers_are_those_of_the_calculator(labelled, tmp_path):
    write(tmp_path / "train.xyz", [rattled_ethanol(0)], format="extxyz")
    labels, printed = labelled(tmp_path / "train.xyz", "--calculator", "known_hessians:harmonic")
    assert np.abs(labels[0].hessian - known_hessian()).max() < 1e-8
    trace = np.trace(known_hessian())
    assert f"mean curvature at 0.05 Å: {1e3 * trace * 0.05**2 / 6 / 9:.3g} meV/atom" in printed
    assert f"mean eigenvalue: {trace / 27:.4g} eV/Å²" in printed
    assert "WARNING" not in printed
    tied = ("--calculator", "known_hessians:tied", "--overwrite")
    printed = labelled(tmp_path / "train.xyz", *tied)[1]
    assert "which training refuses: moving all atoms together changes" in printed


def test_frames_that_are_not_what_they_are_said_to_be(labelled, tmp_path):
    write(tmp_path / "train.xyz", [rattled_ethanol(seed) for seed in range(7)], format="extxyz")
    harmonic = ("--calculator", "known_hessians:harmonic")
    printed = labelled(tmp_path / "train.xyz", *harmonic, "--expect", "saddle")[1]
    words = "train.xyz frame 4: imaginary modes: 0, but a saddle has 1"
    assert words in printed and "frame 5" not in printed and "and 2 more" in printed
    printed = labelled(tmp_path / "train.xyz", *harmonic, "--expect", "minimum")[1]
    assert "imaginary modes" not in printed


def test_mean_curvature_of_probes_and_hessians_agree(labelled, tmp_path):
    """Both estimate ½ ⟨δᵀHδ⟩ / N; 150 probes give it within a few percent."""
    write(tmp_path / "train.xyz", [rattled_crystal()], format="extxyz")

    def mean(*options, out):
        printed = labelled(tmp_path / "train.xyz", *EMT, *options, out=out)[1]
        line = next(line for line in printed.splitlines() if "mean curvature" in line)
        return float(line.split(": ")[1].split()[0])

    probes = mean("--max_hessian_atoms", 0, "--probes", 150, out="probes.npz")
    assert probes == pytest.approx(mean(out="hessian.npz"), rel=0.1)


def test_forces_that_are_no_gradient_are_warned_of(labelled, tmp_path):
    write(tmp_path / "train.xyz", [rattled_ethanol(0)], format="extxyz")
    calculator = "known_hessians:without_energy"
    printed = labelled(tmp_path / "train.xyz", "--calculator", calculator)[1]
    assert "asymmetry before symmetrising: 6 eV/Å²" in printed and "WARNING" in printed


@pytest.mark.slow
def test_several_processes_give_the_bits_of_one(labelled, data, tmp_path):
    options = (*EMT, "--max_hessian_atoms", 9)
    labelled(data, *options, out="serial.npz")
    labelled(data, *options, "--workers", 2, out="parallel.npz")
    assert (tmp_path / "serial.npz").read_bytes() == (tmp_path / "parallel.npz").read_bytes()
    assert not multiprocessing.active_children()


def test_a_frame_does_not_depend_on_the_selection(labelled, data):
    every = labelled(data, *EMT, "--max_hessian_atoms", 4, out="all.npz")[0]
    last = labelled(data, *EMT, "--max_hessian_atoms", 4, "--index", "4:5", out="last.npz")[0]
    assert np.array_equal(last[0].displacements, every[3].displacements)
    assert np.array_equal(last[0].force_changes, every[3].force_changes)


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(labelled, data, tmp_path, count, monkeypatch):
    labelled(data, *COUNTING, out="whole.npz")
    total = count()
    assert total == 6 * (9 + 4 + 9 + 16)
    (tmp_path / "count").unlink()
    command = [sys.executable, "-m", "piwsl_plugins", "hessian", str(data), *COUNTING]
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[3])]
    killed = subprocess.run(
        [*command, "--out", str(tmp_path / "labels.npz")],
        # each structure takes more than the second after which finished ones are written
        env={**os.environ, "DIE_AT": "100", "SLOW": "0.045", "PYTHONPATH": os.pathsep.join(paths)},
        check=False,
    )
    assert killed.returncode == 9 and not (tmp_path / "labels.npz").exists()
    printed = labelled(data, *COUNTING)[1]
    # 100 evaluations: the 54 of the first and 24 of the second structure are not repeated
    assert count() == 100 + total - 54 - 24
    assert "2 frames were finished before" in printed
    assert (tmp_path / "labels.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert not list(tmp_path.glob("*.partial")) and not list(tmp_path.glob("*.writing"))
    monkeypatch.setenv("DIE_AT", str(count() + 1))
    assert "4 frames were finished before" in labelled(data, *COUNTING)[1]


def test_more_frames_reuse_what_is_there(labelled, data, count):
    labelled(data, *COUNTING, "--index", ":2")
    assert count() == 54
    labels, _ = labelled(data, *COUNTING)
    assert count() == 6 * (9 + 4 + 9 + 16) and len(labels) == 4


def test_an_hdf5_file_holds_the_same_and_is_gone_on_from(labelled, data, count):
    options = (*COUNTING, "--max_hessian_atoms", 9, "--probes", 3)
    labelled(data, *options, "--index", ":3", out="labels.h5")
    done = count()
    labels, printed = labelled(data, *options, out="labels.h5")
    assert "2 frames were finished before" in printed
    assert "largest asymmetry before symmetrising" in printed
    only = count() - done
    expected = labelled(data, *options, out="labels.npz")[0]
    assert only == count() - done - only - done
    assert len(labels) == len(expected) == 4
    for label, other in zip(labels, expected, strict=True):
        for name, value in vars(other).items():
            assert np.array_equal(getattr(label, name), value) or value is None, name
            assert (getattr(label, name) is None) == (value is None), name


def test_fewer_frames_do_not_silently_shrink_the_file(labelled, refused, data):
    labelled(data, *EMT)
    assert "labels of 3 frames" in refused(data, *EMT, "--index", ":2")
    assert len(labelled(data, *EMT, "--index", ":2", "--overwrite")[0]) == 1


@pytest.mark.parametrize(
    "other", [("--step", "0.01"), ("--probes", "5"), ("--seed", "1"), ("--max_hessian_atoms", "4")]
)
def test_other_settings_do_not_mix(labelled, refused, data, other):
    labelled(data, *EMT, "--index", "2")
    error = refused(data, *EMT, "--index", "2", *other)
    assert "--overwrite" in error and f"{other[1]} here" in error
    labelled(data, *EMT, "--index", "2", *other, "--overwrite")


def test_another_calculator_does_not_mix_with_an_unfinished_run(
    refused, labelled, data, count, monkeypatch
):
    monkeypatch.setenv("FAIL_BELOW", "1.7")  # the C–C bond of the first
    error = refused(data, *COUNTING, "--index", "1:3", exit_code=1)
    assert "failed on 1 of 2 frames" in error
    error = refused(data, *EMT, "--index", "1:3")
    assert "another calculator" in error and ".partial" in error
    labelled(data, *EMT, "--index", "1:3", "--overwrite")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_failures_are_listed_and_the_others_kept(
    refused, labelled, data, tmp_path, count, monkeypatch, workers
):
    # C–C bonds of both ethanols fail
    monkeypatch.setenv("FAIL_BELOW", "1.7")
    error = refused(data, *COUNTING, "--workers", workers, exit_code=1)
    assert "failed on 2 of 4 frames" in error and "2 others are kept" in error
    assert "train.xyz frame 1 (RuntimeError: SCF did not converge)" in error
    assert "train.xyz frame 3" in error and "frame 2" not in error
    assert not (tmp_path / "labels.npz").exists()
    labels, printed = labelled(data, *COUNTING, "--skip_failed")
    assert [len(label.numbers) for label in labels] == [4, 16]
    assert "2 frames left out" in printed and "2 frames were finished before" in printed
    monkeypatch.delenv("FAIL_BELOW")
    assert len(labelled(data, *COUNTING)[0]) == 4


def test_when_all_frames_fail_nothing_is_written(refused, data, tmp_path, count, monkeypatch):
    monkeypatch.setenv("FAIL_BELOW", "10")
    error = refused(data, *COUNTING, "--skip_failed", exit_code=1)
    assert "failed on 4 of 4 frames" in error
    assert not (tmp_path / "labels.npz").exists()


@pytest.mark.slow
def test_a_worker_that_dies_is_reported(refused, data, count, monkeypatch):
    monkeypatch.setenv("DIE_AT", "60")
    error = refused(data, *COUNTING, "--workers", 2, exit_code=1)
    assert "worker processes die again and again" in error and "goes on" in error


def test_energies_suffice_for_probes_and_the_error_says_so(refused, labelled, data):
    calculator = ("--calculator", "known_hessians:energies")
    error = refused(data, *calculator)
    assert "does not give" in error and "--energies" in error
    energies = labelled(data, *calculator, "--energies")[0]
    forces = labelled(data, *EMT, "--energies", out="emt.npz")[0]
    for one, other in zip(energies, forces, strict=True):
        assert one.force_changes is None and one.hessian is None
        assert np.array_equal(one.curvatures, other.curvatures)


def test_default_name_of_the_output(data, monkeypatch, capsys):
    from piwsl_plugins.tools.command import main

    assert main(["hessian", str(data), *EMT, "--index", "2"]) == 0
    assert len(read_labels(data.with_name("train.hessian.npz"))) == 1
    assert str(data.with_name("train.hessian.npz")) in capsys.readouterr().out
