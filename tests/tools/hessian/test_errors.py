"""Bad input ends in one readable line and exit status 2."""

import pytest
from ase import Atoms
from ase.io import write

from .conftest import rattled_crystal

EMT = ("--calculator", "known_hessians:emt")


@pytest.mark.parametrize(
    ("calculator", "words"),
    [
        ("GFN3-xTB", ("GFN2-xTB", ".model", "module:factory")),
        ("absent.model", ("no file absent.model",)),
        ("absent.nequip.zip", ("no file absent.nequip.zip",)),
        ("no_such_module:calculator", ("no_such_module",)),
        ("known_hessians:no_such_factory", ("no_such_factory",)),
        ("known_hessians:broken", ("no licence",)),
        ("known_hessians:text", ("gave no ASE calculator",)),
    ],
)
def test_calculators_that_cannot_be_used(refused, data, calculator, words):
    error = refused(data, "--calculator", calculator)
    assert all(word in error for word in (*words, f"--calculator={calculator}"))


def test_xtb_without_tblite_names_the_remedy(refused, data, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tblite" else find(name)
    )
    assert "pip install tblite" in refused(data, "--calculator", "gfn2-xtb")


def test_frameworks_that_are_missing_name_the_remedy(refused, data, tmp_path, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "mace" else find(name)
    )
    (tmp_path / "some.model").write_text("")
    error = refused(data, "--calculator", tmp_path / "some.model")
    assert 'pip install "piwsl-plugins[mace,tools]"' in error


def test_files_of_single_atoms(refused, tmp_path):
    write(tmp_path / "atoms.xyz", [Atoms("H")], format="extxyz")
    assert "atoms.xyz" in refused(tmp_path / "atoms.xyz", *EMT)


@pytest.mark.parametrize("index", ["frames", "1:2:3:4", "99", "5:5"])
def test_selections(refused, data, index):
    assert f"--index={index}" in refused(data, *EMT, "--index", index)


def test_elements_that_the_calculator_does_not_know(refused, tmp_path):
    write(tmp_path / "train.xyz", [Atoms("U2", [[0, 0, 0], [0, 0, 2]])], format="extxyz")
    error = refused(tmp_path / "train.xyz", *EMT, exit_code=1)
    assert "train.xyz frame 0" in error and "U" in error


def test_equal_positions_in_different_cells(refused, tmp_path):
    one = rattled_crystal()
    other = one.copy()
    other.cell[2, 2] *= 1.02
    write(tmp_path / "train.xyz", [one, other], format="extxyz")
    error = refused(tmp_path / "train.xyz", *EMT)
    assert "frame 1" in error and "frame 0" in error and "another cell" in error


@pytest.mark.parametrize(
    "option",
    ["--step=0", "--max_hessian_atoms=-1", "--probes=0", "--max_displacement=2", "--workers=0"],
)
def test_values_out_of_range(refused, data, option):
    assert option.split("=")[0] in refused(data, *EMT, option)


def test_one_source_of_hessians(refused, data, tmp_path):
    assert "none is given" in refused(data)
    assert "--calculator and --from_frames" in refused(data, *EMT, "--from_frames")
    assert "needs a file of structures" in refused(*EMT)


def test_other_files_are_not_replaced(refused, data, tmp_path):
    (tmp_path / "labels.npz").write_text("precious")
    assert "--overwrite" in refused(data, *EMT)
    assert (tmp_path / "labels.npz").read_text() == "precious"
