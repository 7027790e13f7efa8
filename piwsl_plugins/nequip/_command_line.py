"""What ``nequip-train`` lacks: a config file as an argument, and errors of one line.

Hydra 1.3, on which ``nequip-train`` of NequIP 0.19 is built, takes ``config.yaml`` for an
override and stops; it wants ``-cp DIRECTORY -cn NAME``.
"""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import NoReturn

_CONFIG_OPTIONS = ("-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir")


def is_nequip_train(argv: list[str], orig_argv: list[str]) -> bool:
    """Whether this process is NequIP's trainer.

    Args:
        argv: ``sys.argv``; with ``python -m`` its first item is not known while packages load.
        orig_argv: ``sys.orig_argv``.
    """
    program = os.path.splitext(os.path.basename(argv[0]))[0] if argv else ""
    return program == "nequip-train" or (
        program == "-m" and "nequip.scripts.train" in orig_argv[: len(orig_argv) - len(argv) + 1]
    )


def with_config_options(arguments: list[str]) -> list[str]:
    """Arguments in which the one existing YAML file is named as Hydra wants it.

    They are left alone if they name a config already, or hold no such file or several.
    """
    if any(argument.split("=")[0] in _CONFIG_OPTIONS for argument in arguments):
        return arguments
    files = [
        argument
        for argument in arguments
        if argument.endswith((".yaml", ".yml")) and "=" not in argument and os.path.isfile(argument)
    ]
    if len(files) != 1:
        return arguments
    directory, name = os.path.split(os.path.abspath(files[0]))
    others = [argument for argument in arguments if argument != files[0]]
    return ["-cp", directory, "-cn", name, *others]


def fail(message: str) -> NoReturn:
    """End the program with one line and exit code 2."""
    print(f"nequip-train: error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    raise SystemExit(2)


def user_error(error: BaseException | None) -> BaseException | None:
    """Among an error and its causes, the one that tells the user what to do, or None."""
    from ..core.options import SettingsError
    from .config import DataError

    while error is not None and not isinstance(error, (SettingsError, DataError)):
        error = error.__cause__ or error.__context__
    return error


def shorten_errors() -> None:
    """Let the process end with one line where the user can mend the error, by ``sys.excepthook``.

    Hydra and Lightning pass errors on as they are, since NequIP 0.19 sets ``HYDRA_FULL_ERROR``
    (``nequip/scripts/train.py``), so that they would end in long tracebacks.
    """
    otherwise = sys.excepthook

    def hook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        found = user_error(error)
        if found is None:
            otherwise(kind, error, traceback)
        else:
            fail(str(found))

    sys.excepthook = hook
