"""The ``--piwsl_*`` options of ``mace_run_train``, generated from the core's settings."""

from __future__ import annotations

import argparse
import ast
import logging
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from typing import Any, NoReturn

from ..core.settings import Settings, SettingsError, default_text, options
from ..core.structures import check_exists

_ENERGY_FREE_MODELS = ("AtomicDipolesMACE", "AtomicDielectricMACE")
_DIPOLE_MODELS = ("EnergyDipolesMACE", "PolarMACE")
#: settings that name a file
_FILES = ("curvature_file", "reference_model", "unlabeled_file")

#: set while a run with --loss=piwsl reads data; an environment variable, because the loader's
#: worker processes read data too, and inherit it however they are started
_SELECTED = "_PIWSL_PLUGINS_SELECTED"


def fail(message: str) -> NoReturn:
    """End the program as argparse does for a wrong argument: one message, exit status 2."""
    print(f"mace_run_train: error: {message}", file=sys.stderr)
    raise SystemExit(2)


def destination(name: str) -> str:
    """The attribute of MACE's arguments that holds a setting."""
    swa = "swa_" if name.startswith("swa_") else ""
    return f"{swa}piwsl_{name.removeprefix('swa_')}"


def _flags(name: str) -> list[str]:
    flags = [f"--{destination(name)}"]
    if name.startswith("swa_"):
        flags.append(flags[0].replace("--swa_", "--stage_two_"))
    return flags


def add_arguments(parser: ArgumentParser) -> None:
    """Add the loss ``piwsl`` and the PIWSL group to MACE's parser.

    Options that are not given are absent from the parsed arguments (``argparse.SUPPRESS``),
    so that with another loss they are what they are without this package.
    """
    loss = parser._option_string_actions["--loss"]
    if loss.choices is not None and "piwsl" not in loss.choices:
        loss.choices = [*loss.choices, "piwsl"]
    group = parser.add_argument_group(
        "PIWSL (with --loss=piwsl)",
        "Physics-informed weakly supervised learning, arXiv 2408.05215: consistency of energies "
        "and forces at randomly displaced structures, added to a supervised loss.",
    )
    for name, option in options("mace").items():
        values = "".join(f" {value}: {meaning}." for value, meaning in option.choices.items())
        unit = f" [{option.unit}]" if option.unit else ""
        text = f"{option.help}{unit}{values} (default: {default_text(name)})"
        group.add_argument(
            *_flags(name),
            dest=destination(name),
            type=_parse_as(name),
            default=argparse.SUPPRESS,
            metavar="{" + ",".join(option.choices) + "}" if option.choices else None,
            help=text.replace("%", "%%"),
        )


def _parse_as(name: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            return options()[name].parse(name, text)
        except SettingsError as error:
            raise ArgumentTypeError(f"{error.value!r} cannot be used: {error.remedy}") from None

    return parse


def resolve(args: Namespace) -> list[tuple[str, int]]:
    """Check the PIWSL arguments at MACE's ``check_args`` and fill in those not given.

    With ``--loss=piwsl``, ``args.loss`` becomes the base loss, which MACE then follows for
    stress, virials, error tables and stage two, ``args.piwsl`` becomes True, and every
    setting is stored as a plain value (MACE dumps its arguments as JSON). A wrong argument
    ends the program with exit status 2 and one message. Arguments resolved before are left.

    Returns:
        messages for MACE's log, ``(text, level)``.
    """
    if is_selected(args):
        return []
    given = {
        name: getattr(args, destination(name))
        for name in options("mace")
        if hasattr(args, destination(name))
    }
    os.environ.pop(_SELECTED, None)
    if args.loss != "piwsl":
        if given:
            fail(
                f"{', '.join(_flags(name)[0] for name in given)} given, but --loss={args.loss}: "
                "add --loss=piwsl (with both PIWSL weights 0 it trains exactly as its base loss), "
                "or remove the PIWSL options"
            )
        return []
    try:
        settings = Settings.create({"seed": args.seed, **given})
        for name in _FILES:
            if getattr(settings, name) is not None:
                check_exists(getattr(settings, name), name)
    except SettingsError as error:
        fail(f"{_flags(error.name)[0]}={error.value}: {error.remedy}")
    _check_model(args, settings)
    _check_heads(args, settings)
    for name in options("mace"):
        value = getattr(settings, name)
        setattr(args, destination(name), list(value) if isinstance(value, tuple) else value)
    os.environ[_SELECTED] = "1"
    args.piwsl = True
    args.loss = settings.base_loss
    return [(f"PIWSL is on; its base loss is --loss={args.loss}", logging.INFO)]


def is_selected(args: Namespace) -> bool:
    """Whether this run was started with ``--loss=piwsl``."""
    return getattr(args, "piwsl", False)


def selected_in_this_process() -> bool:
    """The same, where MACE hands over no arguments (reading structures)."""
    return _SELECTED in os.environ


def settings_of(args: Namespace) -> Settings:
    """The settings that :func:`resolve` stored in MACE's arguments."""
    return Settings(**{name: getattr(args, destination(name)) for name in options("mace")})


def _check_model(args: Namespace, settings: Settings) -> None:
    if args.model in _ENERGY_FREE_MODELS:
        fail(f"--model={args.model} has no energy, which --loss=piwsl needs; choose MACE's --loss")
    if settings.base_loss == "energy_forces_dipole" and args.model not in _DIPOLE_MODELS:
        fail(
            f"--piwsl_base_loss=energy_forces_dipole needs --model={' or '.join(_DIPOLE_MODELS)}, "
            f"not --model={args.model}"
        )
    if not getattr(args, "compute_forces", True):
        fail("--compute_forces=False: --loss=piwsl needs the model's forces; leave this option out")


def _check_heads(args: Namespace, settings: Settings) -> None:
    if settings.heads is None:
        return
    known = list(ast.literal_eval(args.heads)) if args.heads else ["Default"]
    if args.foundation_model is not None and "pt_head" not in known:
        known.append("pt_head")
    unknown = [name for name in settings.heads if name not in known]
    if unknown:
        fail(
            f"--piwsl_heads={','.join(settings.heads)}: there is no head {', '.join(unknown)}; "
            f"the heads of this run are {', '.join(known)}"
        )
