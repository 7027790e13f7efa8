"""The command ``piwsl weak``."""

from __future__ import annotations

import os

from ..options import chosen
from ..outputs import alone
from .arguments import build_parser, check, folder_of
from .settings import WeakSettings


def main(given: list[str]) -> None:
    """Run the command with its arguments."""
    # the trainings get the user's own environment
    environment = dict(os.environ)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    options = build_parser().parse_args(given)
    settings = WeakSettings(**chosen(options, WeakSettings))
    check(options, settings)
    with alone(options.out, folder=folder_of(options)):
        from .run import label

        label(options, settings, environment)
