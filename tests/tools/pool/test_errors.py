"""What another run left, and calculators that fail on every frame."""

from ase.build import bulk
from ase.io import write

SPRINGS = "known_dynamics:springs"


def test_another_run_in_the_folder_is_not_mixed_in(refused, data, tmp_path):
    (tmp_path / "pool.xyz.partial").mkdir()
    (tmp_path / "pool.xyz.partial" / "run.json").write_text('{"calculator": "another"}')
    error = refused(data, SPRINGS)
    assert "comes from another calculator or other settings" in error and "--overwrite" in error


def test_a_calculator_that_fails_on_every_frame(refused, data, tmp_path):
    error = refused(data, "ase.calculators.calculator:Calculator", exit_code=1)
    assert "no structures: " in error and "failed on 5 frames" in error and "frame 1" in error
    write(tmp_path / "cells.xyz", bulk("Cu", a=2.9) * 2, format="extxyz")
    error = refused(
        tmp_path / "cells.xyz", "known_dynamics:stressless", "--pressure", 0, exit_code=1
    )
    assert "failed on 1 frames" in error and "stress" in error


def test_a_pool_stays_where_its_successor_comes_to_nothing(refused, data, tmp_path):
    """Every run is cut before its first structure."""
    (tmp_path / "pool.xyz").write_text("old")
    late = ("--equilibration", 500, "--spacing", 10)
    error = refused(data, "known_dynamics:pulled", *late, "--overwrite", exit_code=1)
    assert "runs ended before their first structure" in error
    assert (tmp_path / "pool.xyz").read_text() == "old"
    assert not (tmp_path / "pool.xyz.partial").exists()
