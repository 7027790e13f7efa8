"""Runs that are killed, that meet another one, or that the disk has no room for."""

import functools
import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from piwsl_plugins.tools.command import main

from .wrong_calls import contents

pytestmark = pytest.mark.slow

#: each verb: a run of a second or two, and what it writes
RUNS = {
    "pool": (
        "pool train.xyz --calculator wrong_factories:slow --n 12 --per_run 2 --spacing 5 "
        "--equilibration 10 --labels --figure new.png --out new.xyz",
        ("new.xyz", "new.png"),
    ),
    "select": ("select pool.xyz --n 3 --given train.xyz --out new.xyz --rest rest.xyz",
               ("new.xyz", "rest.xyz")),
    "hessian": ("hessian train.xyz --calculator wrong_factories:slow --out new.npz", ("new.npz",)),
    "weak": (
        "weak train.xyz pool.xyz --calculator wrong_factories:slower "
        "--corrections wrong_factories:rest --out new.xyz",
        ("new.xyz",),
    ),
    "report": (
        "report --model a=wrong_factories:slow --model b=wrong_factories:most --data train.xyz "
        "--parts labels scans --scan_points 9 --resamples 100 --out new",
        ("new/parts", "new/summary.json"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def without_figures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("piwsl_plugins.tools.report.figures.draw", lambda *_: [])
        yield


@pytest.fixture(scope="module")
def undisturbed(made_once, without_figures, tmp_path_factory):
    """What a verb's command writes undisturbed, and the seconds that it takes."""

    @functools.cache
    def measured(verb):
        command, outputs = RUNS[verb]
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(with_inputs(tmp_path_factory.mktemp("whole"), made_once))
            start = time.monotonic()
            assert finished(started(command)) == (0, "")
            return [results(Path(name)) for name in outputs], time.monotonic() - start

    return measured


def with_inputs(folder, made_once):
    for name in ("train.xyz", "pool.xyz"):
        shutil.copy(made_once / name, folder)
    return folder


@pytest.fixture(params=RUNS)
def run(request, made_once, undisturbed, tmp_path, monkeypatch):
    """A command, and the files it reads, alone in a folder; and what it writes undisturbed."""
    before = undisturbed(request.param)
    monkeypatch.chdir(with_inputs(tmp_path, made_once))
    return *RUNS[request.param], *before


def started(command, limit=None):
    """The command in a child of this process, which need not import; its id and its errors."""
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    code = 70
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        os.dup2(writing, 2)
        with open(os.devnull, "w") as out, open(2, "w", closefd=False) as err:
            sys.stdout, sys.stderr = out, err
            code = main(shlex.split(command))
    finally:
        os._exit(code)


def finished(started_run):
    """Exit code and errors of a child."""
    process, reading = started_run
    with open(reading) as errors:
        text = errors.read()
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), text


def results(path):
    """What a run wrote, without dates and durations."""
    if path.is_dir():
        return {str(p.relative_to(path)): results(p) for p in sorted(path.rglob("*.json"))}
    if path.suffix == ".json":
        return timeless(json.loads(path.read_text()))
    return path.read_bytes()


def timeless(content):
    """JSON without what differs from run to run."""
    if isinstance(content, dict):
        left_out = ("seconds", "created", "evaluation_time")
        return {k: timeless(v) for k, v in content.items() if not k.startswith(left_out)}
    if isinstance(content, list):
        return [timeless(item) for item in content]
    return content


def left():
    """What must be gone at the end."""
    return [p.name for p in Path().rglob("*") if p.suffix in (".lock", ".writing", ".partial")
            or p.name == ".lock"]  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_moments(run, seed):
    command, outputs, whole, seconds = run
    random = np.random.default_rng(seed)
    for _ in range(3):
        process, reading = started(command)
        time.sleep(random.uniform(0, seconds))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(reading)
    code, error = finished(started(command))
    if code:  # killed after the last file was written
        assert (code, f"{outputs[0]} exists" in error) == (2, True), error
    assert [results(Path(name)) for name in outputs] == whole
    assert code or left() == []


@pytest.fixture
def in_the_background():
    """What a shell does to ``pytest &``: the process and those that it starts ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("in_the_background")
@pytest.mark.parametrize("run", ["pool", "hessian", "weak"], indirect=True)
def test_an_overwriting_run_that_is_interrupted_goes_on_without_the_option(run, monkeypatch):
    """What is to be replaced stays until then."""
    command, outputs, whole, _ = run
    monkeypatch.setattr("piwsl_plugins.tools.runs._AT_MOST_EVERY", 0.0)
    for name in outputs:
        Path(name).write_text("old")
    process, reading = started(f"{command} --overwrite")
    deadline = time.monotonic() + 30
    while not list(Path().rglob("*.partial/*.npz")) and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(process, signal.SIGINT)
    code, error = finished((process, reading))
    assert (code, "the same command without --overwrite goes on" in error) == (130, True), error
    assert list(Path().rglob("*.partial/*.npz"))
    assert all(Path(name).read_text() == "old" for name in outputs)
    assert finished(started(command)) == (0, "")
    assert [results(Path(name)) for name in outputs] == whole
    assert left() == []


def test_two_processes_do_not_write_the_same(run):
    command, outputs, whole, _ = run
    first = started(command)
    while not list(Path().rglob("*.lock")):
        time.sleep(0.001)
    code, error = finished(started(command))
    assert code == 1 and error.count("\n") == 1, error
    assert "another process writes to it" in error
    assert finished(first) == (0, "")
    assert [results(Path(name)) for name in outputs] == whole
    assert left() == []


@pytest.mark.parametrize("limit", [0, 3000])
def test_a_full_disk(run, limit):
    """The largest file that may be written stands for the disk."""
    command, outputs, whole, _ = run
    before = contents(Path())
    code, error = finished(started(command, limit))
    if code:  # some write less
        assert code == 1 and error.count("\n") == 1, error
        assert "File too large" in error
    assert before.items() <= contents(Path()).items()
    assert code or [results(Path(name)) for name in outputs] == whole
    if code:
        assert finished(started(command))[0] == 0
    assert [results(Path(name)) for name in outputs] == whole
    assert left() == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="where nobody may write")
def test_a_folder_that_nobody_may_write_to(run):
    command = run[0].replace("--out new", "--out /proc/new")
    before = contents(Path())
    code, error = finished(started(command))
    assert code == 1 and error.count("\n") == 1
    assert error.startswith(f"piwsl {command.split()[0]}: /proc/new"), error
    assert contents(Path()) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full")
def test_a_log_on_a_full_disk():
    command = [sys.executable, "-m", "piwsl_plugins", "--help"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr
