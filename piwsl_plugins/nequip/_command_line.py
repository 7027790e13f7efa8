"""``nequip-train config.yaml``: a config file as an argument, as NequIP users expect it.

Hydra 1.3, on which ``nequip-train`` of NequIP 0.19 is built, takes ``config.yaml`` for an
override and stops; it wants ``-cp DIRECTORY -cn NAME``.
"""

from __future__ import annotations

import os

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
