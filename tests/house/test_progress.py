"""Bars appear on terminals alone, and end full."""

import io

import pytest

from piwsl_plugins.progress import stage


class Terminal(io.StringIO):
    """A standard error that says it is a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize(("stream", "total", "shown"), [
    (Terminal, 3, True), (io.StringIO, 3, False), (Terminal, 0, False),
])  # fmt: skip
def test_a_stage_is_shown_on_a_terminal_alone(stream, total, shown, monkeypatch):
    error = stream()
    monkeypatch.setattr("sys.stderr", error)
    with stage("structures", total) as advance:
        for amount in [1, 2] if total else []:
            advance(amount)
    text = error.getvalue()
    assert ("structures: 100%" in text) if shown else text == "", text
