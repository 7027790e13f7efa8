"""Console scripts in processes that need not import torch and the like themselves.

Run as a program with the names of packages, it imports them, and then forks a child for each line
of JSON on its standard input, which runs a script as the interpreter would. Half of the time of a
tiny training is imports; the tests make some hundred. The packages are none of the hosts', so that
hooks into these act in the child.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.metadata
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path


class CommandServer:
    """Runs console scripts of this environment, one at a time, until this process ends."""

    def __init__(self, *packages: str) -> None:
        """
        Args:
            packages: imported before any script runs.
        """
        self._server = subprocess.Popen(
            [sys.executable, __file__, *packages],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self._close)

    def run(
        self, script: str, arguments: Sequence[str], folder: Path, one_stream: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a script to its end; its exit code is negative for a signal.

        Args:
            script: its name in this environment's folder of scripts; "python" for a file of Python
                in ``folder``, the first of the arguments.
            arguments: of the command line.
            folder: where it runs.
            one_stream: whether its standard error goes where its standard output goes.
        """
        path = [] if script == "python" else [Path(sys.executable).with_name(script)]
        with tempfile.TemporaryDirectory() as outside:
            out = Path(outside, "out")
            err = out if one_stream else Path(outside, "err")
            request = {
                "command": [str(word) for word in (*path, *arguments)],
                "folder": str(folder),
                "environment": os.environ | {"OMP_NUM_THREADS": "1"},
                "out": str(out),
                "err": None if one_stream else str(err),
            }
            self._server.stdin.write(json.dumps(request) + "\n")
            self._server.stdin.flush()
            code = int(self._server.stdout.readline())
            printed = [out.read_text(), None if one_stream else err.read_text()]
        return subprocess.CompletedProcess(arguments, code, *printed)

    def _close(self) -> None:
        self._server.stdin.close()
        self._server.wait()


def _become(request: dict) -> str:
    """Make this process the one that a shell would start; returns the script's path."""
    # ignored where a shell began the tests in the background, which this process inherits
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    out = os.open(request["out"], flags)
    err = out if request["err"] is None else os.open(request["err"], flags)
    for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), out, err)):
        os.dup2(file, number)
    sys.argv = request["command"]
    sys.orig_argv = [sys.executable, *sys.argv]
    return sys.argv[0]


def _serve() -> str:
    """Answer requests; returns the path of a script in each child, and nothing at the end."""
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            return _become(json.loads(line))
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return ""


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose packages bear the hosts' names
    for package in sys.argv[1:]:
        importlib.import_module(package)
    # NequIP asks for them when it is imported, and reading all file lists takes half a second
    found = importlib.metadata.packages_distributions()
    importlib.metadata.packages_distributions = lambda: found
    if "torch" in sys.modules:  # warming up takes a second of each child, and tiny models gain none
        sys.modules["torch"]._C._set_graph_executor_optimize(False)
    script = _serve()
    if script:
        sys.path.insert(0, os.path.dirname(script))
        runpy.run_path(script, run_name="__main__")
