"""One process at a time writes to a place, whatever becomes of it."""

import errno
import signal
import subprocess
import sys

import pytest
from filelock import FileLock, Timeout

from piwsl_plugins.errors import RunError
from piwsl_plugins.tools.outputs import alone

HOLDING = """
import sys, time
from pathlib import Path
from piwsl_plugins.tools.outputs import alone
with alone(Path("out.npz"), folder=Path("folder")):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def holder(here):
    process = subprocess.Popen([sys.executable, "-c", HOLDING], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_another_process_is_refused_until_the_first_is_killed(here, holder):
    for where in ({"folder": here / "folder"}, {}):
        with (
            pytest.raises(RunError, match="another process writes to it"),
            alone(*(() if where else [here / "out.npz"]), **where),
        ):
            pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with alone(here / "out.npz", folder=here / "folder"):
        assert (here / "out.npz.lock").exists() and (here / "folder" / ".lock").exists()
    assert not [path for path in here.rglob("*") if path.name.endswith(".lock")]


def test_a_lock_that_its_holder_removes_meanwhile_is_taken_anew(here, monkeypatch):
    """Locked is then a file without a name, which would keep nobody out."""
    lock, acquire, calls = here / "out.npz.lock", FileLock.acquire, []

    def acquired(self, *arguments, **keywords):
        acquire(self, *arguments, **keywords)
        calls.append(lock.stat())
        if len(calls) == 1:
            lock.unlink()
            lock.touch()

    monkeypatch.setattr(FileLock, "acquire", acquired)
    with alone(here / "out.npz"):
        assert len(calls) == 2
        with pytest.raises(Timeout):
            acquire(FileLock(lock), timeout=0)
    assert not lock.exists()


def test_a_file_system_without_locks_is_written_to(here, monkeypatch):
    def acquire(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with alone(here / "out.npz"):
        (here / "out.npz").touch()
    assert [path.name for path in here.iterdir()] == ["out.npz"]
