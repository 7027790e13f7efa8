"""The command ``piwsl`` of this checkout, in any environment."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

_ROOT = str(Path(__file__).resolve().parents[1])
#: for a Python that has what a calculator needs, and not this package
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH")))),
}


def piwsl(*words: Any, python: str = sys.executable) -> float:
    """Run a verb; gives its CPU time (s).

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    start = _cpu()
    command = [python, "-m", "piwsl_plugins", *map(str, words)]
    subprocess.run(command, check=True, env=ENVIRONMENT)
    return _cpu() - start


def _cpu() -> float:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
