"""Plugin of pytest: MACE's tests that train do so with ``--loss=piwsl`` and weights 0.

Each test's own loss becomes the base loss. Trainings with a loss that knows no energy, which PIWSL
refuses, stay as they are.
"""

from __future__ import annotations

import subprocess
from typing import Any

NO_ENERGY = ("dipole", "dipole_polar", "forces_only")


def with_piwsl(command: Any) -> Any:
    """A command with PIWSL, if it is one of ``mace_run_train`` with a loss that has an energy."""
    words = [str(word) for word in command] if isinstance(command, list) else []
    if not any(word.endswith("run_train.py") for word in words):
        return command
    losses = [word for word in words if word.startswith("--loss=")]
    base = losses[0].removeprefix("--loss=") if losses else "weighted"
    if base in NO_ENERGY:
        return command
    others = [word for word in words if word not in losses]
    return [*others, "--loss=piwsl", f"--piwsl_base_loss={base}", "--piwsl_pitc_weight=0"]


def pytest_configure() -> None:
    """Let ``subprocess.run`` start them."""
    run = subprocess.run

    def with_our_loss(command: Any, *arguments: Any, **keywords: Any) -> Any:
        return run(with_piwsl(command), *arguments, **keywords)

    subprocess.run = with_our_loss
