"""The command itself: its help, its verbs, and the exit code of every kind of end."""

import resource
import subprocess
import sys

import pytest
from ase.build import molecule
from ase.io import write

from piwsl_plugins import __version__
from piwsl_plugins.tools import command
from piwsl_plugins.tools.command import VERBS, main
from piwsl_plugins.tools.errors import InputError, RunError


@pytest.fixture
def data(tmp_path):
    write(tmp_path / "train.xyz", molecule("CH3CH2OH"), format="extxyz")
    return str(tmp_path / "train.xyz")


@pytest.fixture
def ends_with(monkeypatch, capsys):
    """Runs a verb that ends with an exception; gives exit code and standard error."""

    def run(error):
        class Verb:
            @staticmethod
            def main(given):
                raise error

        monkeypatch.setattr(command, "_module_of", lambda verb: Verb)
        return main(["report", "--quick"]), capsys.readouterr().err

    return run


def test_help_names_every_verb_and_the_way_of_working(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {verb} " in text for verb in VERBS)
    assert "mace_run_train --loss=piwsl --piwsl_hessian_file=" in text and "nequip-train" in text
    assert len(text.splitlines()) <= 18
    assert main([]) == 2
    assert capsys.readouterr().err == text


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_needs_no_heavy_import(verb):
    code = (
        "import sys; from piwsl_plugins.tools.command import main\n"
        f"try:\n    main(['{verb}', '--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'matplotlib', 'pandas', 'ase', 'scipy', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith(f"usage: piwsl {verb}")


def test_version_and_the_module_as_command():
    command = [sys.executable, "-m", "piwsl_plugins", "--version"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, f"piwsl-plugins {__version__}\n")


@pytest.mark.parametrize(
    ("verb", "words"),
    [("reprot", "did you mean 'report'?"), ("xyz", "pool, select, hessian, weak, report")],
)
def test_an_unknown_verb_is_one_line(capsys, verb, words):
    assert main([verb]) == 2
    error = capsys.readouterr().err
    assert words in error and error.startswith(f"piwsl {verb}: ") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "exit_code", "words"),
    [
        (InputError("no such key"), 2, "no such key"),
        (RunError("frame 3 failed"), 1, "frame 3 failed"),
        (KeyboardInterrupt(), 130, "the same command goes on"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (PermissionError(13, "Permission denied", "out.npz"), 1, "out.npz: Permission denied"),
        (ModuleNotFoundError("no", name="rich.console"), 2, 'pip install "piwsl-plugins[tools]"'),
        (ModuleNotFoundError("no", name="torch"), 2, "comes with MACE and NequIP"),
    ],
)
def test_every_end_has_its_exit_code_and_one_line(ends_with, error, exit_code, words):
    found, printed = ends_with(error)
    assert found == exit_code
    assert "piwsl report: " in printed and words in printed
    assert printed.strip().count("\n") == 0


def test_mistakes_of_ours_are_not_hidden(ends_with):
    with pytest.raises(ZeroDivisionError):
        ends_with(ZeroDivisionError())
    with pytest.raises(ModuleNotFoundError):
        ends_with(ModuleNotFoundError("no", name="piwsl_plugins.absent"))


def test_options_that_argparse_refuses():
    with pytest.raises(SystemExit) as caught:
        main(["hessian", "--no_such_option"])
    assert caught.value.code == 2


def test_a_folder_that_cannot_be_made(data, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    out = str(tmp_path / "file" / "labels.npz")
    given = ["hessian", data, "--calculator", "ase.calculators.emt:EMT", "--out", out]
    assert main(given) == 1
    error = capsys.readouterr().err
    assert "Not a directory" in error and error.count("\n") == 1


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(data, tmp_path):
    """The largest file that may be written stands for the disk: the labels do not fit."""
    given = ["hessian", data, "--calculator", "ase.calculators.emt:EMT"]
    found = subprocess.run(
        [sys.executable, "-m", "piwsl_plugins", *given],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
    )
    assert found.returncode == 1
    assert found.stderr.startswith("piwsl hessian: ") and found.stderr.count("\n") == 1
    assert f"{data.replace('.xyz', '.hessian.npz')}.partial" in found.stderr
    assert "File too large" in found.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"train.xyz", "train.hessian.npz.partial"}
    kept = {path.name for path in (tmp_path / "train.hessian.npz.partial").iterdir()}
    assert kept == {"run.json"}
