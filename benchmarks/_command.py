"""Commands and their CPU time; ``piwsl`` of this checkout, in any environment."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
#: for a Python that has what a calculator needs, and not this package
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
}


def piwsl(*words: Any, python: str = sys.executable) -> float:
    """Run a verb; gives its CPU time (s).

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    return run([python, "-m", "piwsl_plugins", *words])


def run(command: Sequence[Any], **keywords: Any) -> float:
    """Run a command with this checkout; gives its CPU time (s).

    Args:
        command: program and words.
        keywords: of ``subprocess.run``.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    start = _cpu()
    subprocess.run([str(word) for word in command], check=True, env=ENVIRONMENT, **keywords)
    return _cpu() - start


def _cpu() -> float:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
