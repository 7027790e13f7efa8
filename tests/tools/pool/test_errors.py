"""Wrong calls and input: one line, and its exit code."""

import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

SPRINGS = "known_dynamics:springs"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--temperatures", 0), "--temperatures=0.0: allowed is a number above 0 K"),
        (("--temperatures", 300, 300), "--temperatures=300.0 300.0: allowed is each temperature"),
        (("--temperatures", "nan"), "--temperatures=nan"),
        (("--n", 1), "--n=1: allowed is at least one structure for each of the temperatures, 2"),
        (("--n", 0), "--n=0: allowed is a whole number of at least 1"),
        (("--spacing", 0.2), "--spacing=0.2: allowed is at least the time step"),
        (("--timestep", 0), "--timestep=0.0"),
        (("--equilibration", -1), "--equilibration=-1.0"),
        (("--workers", 0), "--workers=0: allowed is 1 or more"),
        (("--index", "7:"), "there is no such frame"),
        (("--pressure", 0), "train.xyz frame 1 is not periodic in three directions"),
        (("--figure", "pool.txt"), "--figure=pool.txt: allowed is a name that ends in .png"),
        (("--exclude", "absent.xyz"), "absent.xyz: there is no such file"),
    ],
)
def test_options_that_cannot_be_used(refused, data, given, words):
    assert words in refused(data, SPRINGS, *given)


def test_names_of_files(refused, data, tmp_path):
    assert "ends in .xyz or .extxyz" in refused(data, SPRINGS, out="pool.npz")
    (tmp_path / "pool.xyz").write_text("mine")
    assert "pool.xyz exists; give another name, or --overwrite" in refused(data, SPRINGS)
    assert (tmp_path / "pool.xyz").read_text() == "mine"
    words = refused(data, SPRINGS, "--overwrite", out="train.xyz")
    assert "is one of the files to read" in words and data.exists()
    (tmp_path / "pool.png").write_text("mine")
    words = refused(data, SPRINGS, "--figure", tmp_path / "pool.png", out="new.xyz")
    assert "pool.png exists" in words


def test_another_run_in_the_folder_is_not_mixed_in(refused, data, tmp_path):
    (tmp_path / "pool.xyz.partial").mkdir()
    (tmp_path / "pool.xyz.partial" / "run.json").write_text('{"calculator": "another"}')
    error = refused(data, SPRINGS)
    assert "comes from another calculator or other settings" in error and "--overwrite" in error


def test_calculators_that_cannot_be_used(refused, data):
    assert "cannot be told from its name" in refused(data, "mine")
    assert "gave no ASE calculator" in refused(data, "os:getcwd")
    assert "there is no file" in refused(data, "absent.model")


def test_a_calculator_that_fails_on_every_frame(refused, data, tmp_path):
    error = refused(data, "ase.calculators.calculator:Calculator", exit_code=1)
    assert "no structures: " in error and "failed on 5 frames" in error and "frame 1" in error
    write(tmp_path / "cells.xyz", bulk("Cu", a=2.9) * 2, format="extxyz")
    error = refused(
        tmp_path / "cells.xyz", "known_dynamics:stressless", "--pressure", 0, exit_code=1
    )
    assert "failed on 1 frames" in error and "stress" in error


def test_runs_that_never_give_a_structure(refused, data):
    error = refused(data, SPRINGS, "--timestep", 15, "--spacing", 150, exit_code=1)
    assert "runs ended before their first structure" in error and "shorter --timestep" in error


def test_files_without_a_frame_to_begin_at(refused, data, tmp_path):
    assert "no frame to begin at (1 single atoms, 6 frames" in refused(
        data, SPRINGS, "--exclude", data
    )
    write(tmp_path / "atoms.xyz", [Atoms("C"), Atoms("H")], format="extxyz")
    assert "no frame to begin at (2 single atoms" in refused(tmp_path / "atoms.xyz", SPRINGS)
    (tmp_path / "empty.xyz").write_text("")
    assert "empty.xyz: the file is empty" in refused(tmp_path / "empty.xyz", SPRINGS)
