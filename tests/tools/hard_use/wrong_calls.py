"""A wrong call of ``piwsl``: what it must end with, and that it leaves every file as it was."""

import dataclasses
import shlex

import pytest

from piwsl_plugins.tools.command import main


@dataclasses.dataclass(frozen=True)
class WrongCall:
    """A command line, what its one line must say, and its exit code."""

    command: str
    words: tuple[str, ...]
    exit_code: int


def wrong(what, command, *words, exit_code=2):
    """A row of a table.

    Args:
        what: is wrong.
        command: the command line.
        words: that the line must hold: the option or file, its value, the remedy.
        exit_code: of the command.
    """
    return pytest.param(WrongCall(command, words, exit_code), id=what)


def table(start, text, exit_code=2):
    """Rows written as ``what is wrong | the command line after its start | word | word``."""
    cells = [[cell.strip() for cell in line.split("|")] for line in text.strip().splitlines()]
    return [
        wrong(what, f"{start} {command}", *words, exit_code=exit_code)
        for what, command, *words in cells
    ]


def contents(folder):
    """Every file of a folder with its bytes and the time of its last change."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        if path.is_file()
        else None
        for path in folder.rglob("*")
    }


def check(call, folder, capfd):
    """Make a wrong call in ``folder``, where the tests are."""
    before = contents(folder)
    arguments = shlex.split(call.command)
    try:
        exit_code = main(arguments)
    except SystemExit as ended:  # of argparse
        exit_code = ended.code
    error = capfd.readouterr().err
    *usage, line = error.splitlines()
    assert exit_code == call.exit_code, error
    assert "Traceback" not in error
    assert line.startswith(f"piwsl {arguments[0]}"), error
    assert not usage or (usage[0].startswith("usage: ") and ": error: " in line), error
    assert [word for word in call.words if word not in line] == [], error
    assert contents(folder) == before
