"""Bad input ends in one readable error that names the file and the frame."""

import pytest
from ase.io import write

from piwsl_plugins.tools.command import main

EMT = ["--model", "emt=known_calculators:emt"]


@pytest.fixture
def refused(tmp_path, capsys):
    """Runs the command and gives its error, which must be one line."""

    def run(*arguments, exit_code=2):
        given = ["report", *arguments, "--out", str(tmp_path / "out"), "--parts", "labels"]
        assert main(given) == exit_code
        error = capsys.readouterr().err
        assert error.startswith("piwsl report: ") and error.count("\n") == 1
        return error

    return run


@pytest.fixture
def alloy_with(alloy, tmp_path):
    def change(function):
        function(alloy)
        write(tmp_path / "changed.xyz", alloy, format="extxyz")
        return str(tmp_path / "changed.xyz")

    return change


def test_missing_energy_names_the_frame_and_the_option(refused, alloy_with):
    path = alloy_with(lambda frames: frames[3].info.pop("REF_energy"))
    error = refused(*EMT, "--data", path)
    assert "changed.xyz frame 3" in error and "REF_energy" in error and "--energy_key" in error


def test_missing_forces_are_not_overlooked(refused, alloy_with):
    path = alloy_with(lambda frames: frames[2].arrays.pop("REF_forces"))
    error = refused(*EMT, "--data", path)
    assert "changed.xyz frame 2" in error and "--forces_key" in error


def test_malformed_file_names_the_frame(refused, alloy_file):
    lines = alloy_file.read_text().splitlines()
    frame = int(lines[0]) + 2
    lines[frame + 4] = "Cu 1.0 oops"
    alloy_file.write_text("\n".join(lines) + "\n")
    assert "alloy.xyz frame 1" in refused(*EMT, "--data", str(alloy_file))


def test_element_that_the_model_does_not_know(refused, alloy_with):
    def exotic(frames):
        frames[5].symbols[0] = "U"

    error = refused(*EMT, "--data", alloy_with(exotic), exit_code=1)
    assert "'emt'" in error and "changed.xyz frame 5" in error and "U" in error


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("nothing", "NAME=PATH"),
        ("a/b=x.model", "NAME=PATH"),
        ("x=absent.model", "no file absent.model"),
        ("x=weights.pt", ".nequip.pt2"),
        ("x=no_such_module:factory", "No module named"),
        ("x=no.such.module:factory", "No module named"),
        ("x=known_calculators:no_such_function", "no_such_function"),
        ("x=known_calculators:not_a_calculator", "no ASE calculator"),
    ],
)
def test_models_that_are_none(refused, alloy_file, model, words):
    assert words in refused("--model", model, "--data", str(alloy_file))


def test_file_that_is_no_model(refused, alloy_file, tmp_path):
    pytest.importorskip("mace")
    (tmp_path / "x.model").write_text("not a model")
    error = refused("--model", f"x={tmp_path / 'x.model'}", "--data", str(alloy_file))
    assert "cannot be loaded" in error


def test_model_of_the_other_framework(refused, alloy_file, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    for ending, framework in ((".model", "mace"), (".nequip.zip", "nequip")):
        (tmp_path / f"x{ending}").write_text("")
        error = refused("--model", f"x={tmp_path / f'x{ending}'}", "--data", str(alloy_file))
        assert framework in error and "piwsl report merge" in error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--epsilons", "0.9"], "0.5 Å"),
        (["--epsilons", "0.1", "0.1"], "different"),
        (["--md_length", "0"], "--md_length"),
        (["--stretch", "2", "1"], "--stretch"),
        (["--bond_factor", "1.1"], "--bond_factor"),
        (["--head", "other=x"], "no model 'other'"),
        (["--model", "emt=known_calculators:emt"], "given twice"),
    ],
)
def test_options_that_cannot_be_used(refused, alloy_file, options, words):
    assert words in refused(*EMT, "--data", str(alloy_file), *options)


def test_dynamics_that_fails_at_once(alloy_with, tmp_path, capsys):
    def exotic(frames):
        frames[0].symbols[0] = "U"

    given = ["report", *EMT, "--data", alloy_with(exotic), "--out", str(tmp_path / "out")]
    assert main([*given, "--parts", "dynamics", "--md_length", "0.01"]) == 1
    error = capsys.readouterr().err
    assert "dynamics from" in error and "changed.xyz frame 0" in error and error.count("\n") == 1


def test_paths_must_keep_their_atoms(alloy, alloy_file, tmp_path, capsys):
    write(tmp_path / "path.xyz", [alloy[0], alloy[0], alloy[6]], format="extxyz")
    given = [*EMT, "--data", str(alloy_file), "--path", f"p={tmp_path / 'path.xyz'}"]
    assert main(["report", *given, "--out", str(tmp_path / "out"), "--parts", "scans"]) == 2
    assert "path.xyz frame 2" in capsys.readouterr().err
