"""The command line of ``nequip-train``: whose it is, and what config it names.

Hydra 1.3, on which ``nequip-train`` of NequIP 0.19 is built, takes ``config.yaml`` for an
override and stops; it wants ``-cp DIRECTORY -cn NAME``.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

_CONFIG_OPTIONS = ("-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir")
#: the loss is no mapping, as those of NequIP are, but a word, misspelt perhaps, or a reference
_A_WORD = re.compile(r"\bloss:[ \t]*[\w\"'$]")
#: there is more to the config than its file
_MORE = re.compile(r"^defaults:|\bsearchpath:", re.MULTILINE)


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
    files = [path for path in _paths(arguments) if os.path.isfile(path)]
    if len(files) != 1:
        return arguments
    directory, name = os.path.split(os.path.abspath(files[0]))
    others = [argument for argument in arguments if argument != files[0]]
    return ["-cp", directory, "-cn", name, *others]


def absent_config(arguments: list[str]) -> str | None:
    """The path of a YAML file that an argument is, and that does not exist, or None.

    Hydra says of it that an override lacks its ``=``. Names after ``-cn`` and the like are its own
    to find.
    """
    if any(argument.split("=")[0] in _CONFIG_OPTIONS for argument in arguments):
        return None
    return next((path for path in _paths(arguments) if not os.path.exists(path)), None)


def _paths(arguments: list[str]) -> list[str]:
    """The arguments that are paths of YAML files, and neither options nor overrides."""
    return [
        argument
        for argument in arguments
        if argument.endswith((".yaml", ".yml")) and "=" not in argument and argument[0] not in "-~"
    ]


def config_file(arguments: list[str]) -> tuple[Path, list[str], bool]:
    """The file of Hydra's primary config, which may not exist, and what is beside it.

    Args:
        arguments: of the command line.

    Returns:
        the file, the overrides, and whether an option names more configs than this one.

    Raises:
        argparse.ArgumentError: for options that cannot be understood.
    """
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--config-path", "-cp", default=".")
    parser.add_argument("--config-name", "-cn", default="config")
    for option in (("--config-dir", "-cd"), ("--experimental-rerun",)):
        parser.add_argument(*option, dest="more")
    options, others = parser.parse_known_args(with_config_options(arguments))
    name = options.config_name
    name = name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"
    return Path(options.config_path, name), others, bool(options.more)


def may_be_ours(arguments: list[str]) -> bool:
    """Whether a run of ``nequip-train`` may have the PIWSL loss, before Hydra reads its config.

    So it is where the arguments or the config's file name ``piwsl``, or have a loss that NequIP
    does not know. It may be where Hydra makes the config from more than this file: from a defaults
    list, a config group, another folder, or a file that is not found here.

    Args:
        arguments: of the command line.
    """
    try:
        path, others, more = config_file(arguments)
        text = path.read_text()
    except (argparse.ArgumentError, OSError, ValueError):  # the last for a file that is no text
        return True
    names_us = any("piwsl" in words.lower() for words in (*arguments, text))
    elsewhere = more or _MORE.search(text) or any(_is_more(word, path.parent) for word in others)
    return bool(names_us or _A_WORD.search(text) or elsewhere)


def _is_more(word: str, folder: Path) -> bool:
    """Whether an override chooses from a config group, or adds a folder of configs."""
    key = word.partition("=")[0].lstrip("+").partition("@")[0]
    return key == "hydra.searchpath" or bool("." not in key and key and (folder / key).is_dir())
