"""The command itself: its help, its verbs, and the exit code of every kind of end."""

import subprocess
import sys

import pytest
from ase.build import molecule
from ase.io import write

from piwsl_plugins import __version__
from piwsl_plugins.errors import InputError, RunError
from piwsl_plugins.tools import command
from piwsl_plugins.tools.command import VERBS, main


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


def test_hessian_labels_need_no_torch(data):
    code = (
        "import sys; sys.modules['torch'] = None; from piwsl_plugins.tools.command import main\n"
        f"sys.exit(main(['hessian', {data!r}, '--calculator', 'ase.calculators.emt:EMT']))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_version_and_the_module_as_command():
    command = [sys.executable, "-m", "piwsl_plugins", "--version"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, f"piwsl-plugins {__version__}\n")


@pytest.mark.parametrize(
    ("error", "exit_code", "words"),
    [
        (InputError("no such key"), 2, "no such key"),
        (RunError("frame 3 failed"), 1, "frame 3 failed"),
        (KeyboardInterrupt(), 130, "the same command goes on"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (PermissionError(13, "Permission denied", "out.npz"), 1, "out.npz: Permission denied"),
        (
            ModuleNotFoundError("no", name="matplotlib.pyplot"),
            2,
            'pip install "piwsl-plugins[tools]"',
        ),
        (ModuleNotFoundError("no", name="torch"), 2, "comes with MACE and NequIP"),
    ],
)
def test_every_end_has_its_exit_code_and_one_line(ends_with, error, exit_code, words):
    found, printed = ends_with(error)
    assert found == exit_code
    assert "piwsl report: " in printed and words in printed
    assert printed.strip().count("\n") == 0


@pytest.mark.parametrize(
    ("verb", "option", "words"),
    [
        ("pool", "--overwrite", "the same command without --overwrite goes on"),
        ("weak", "--overw", "the same command without --overwrite goes on"),
        ("weak", "--out=overwritten.xyz", "the same command goes on"),
        ("select", "--overwrite", "the same command begins anew"),
    ],
)
def test_what_begins_anew_with_overwrite_goes_on_without(verb, option, words, monkeypatch, capsys):
    def interrupted(verb, given):
        raise KeyboardInterrupt

    monkeypatch.setattr("piwsl_plugins.tools.command._run", interrupted)
    assert main([verb, option]) == 130
    assert words in capsys.readouterr().err


def test_mistakes_of_ours_are_not_hidden(ends_with):
    with pytest.raises(ZeroDivisionError):
        ends_with(ZeroDivisionError())
    with pytest.raises(ModuleNotFoundError):
        ends_with(ModuleNotFoundError("no", name="piwsl_plugins.absent"))
