"""The processes that the tests run commands in are those that a shell would start."""

import signal

from ..command_server import CommandServer

INTERRUPTED = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('goes on')"


def test_a_command_can_be_interrupted_where_the_tests_run_in_the_background(tmp_path):
    """A shell lets ``pytest &`` ignore Ctrl-C, and processes inherit that."""
    (tmp_path / "job.py").write_text(INTERRUPTED)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        done = CommandServer().run("python", ["job.py"], tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in done.stderr and done.stdout == ""
