"""The options of ``piwsl report`` and of what follows it: ``merge`` and ``training``."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from ...errors import InputError
from .. import states
from ..calculators import FORMS, CalculatorSource
from ..options import add, chosen, pairs
from . import parts
from .part import FileOption, Part
from .settings import QUICK, OwnOptions, ReportSettings, own_options

_EPILOG = """\
other commands:
  piwsl report merge REPORT REPORT ... --out DIR    join reports from different environments
  piwsl report training LOG ... [--out DIR]         plot training curves

example:
  piwsl report --model base=baseline.model --model piwsl=piwsl.model --data test.xyz --out report
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the report itself."""
    parser = argparse.ArgumentParser(
        prog="piwsl report",
        description="Judge trained potentials side by side: errors, softening, smoothness, "
        "molecular dynamics and vibrations, as tables, figures and one HTML page.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="NAME=MODEL",
        help=f"{FORMS}; give it again for each model, the one to compare with first",
    )
    parser.add_argument(
        "--data", nargs="+", required=True, type=Path, help="labelled frames, extended XYZ"
    )
    parser.add_argument("--out", required=True, type=Path, help="folder of the report")
    parser.add_argument(
        "--quick", action="store_true", help="fewer frames and no dynamics: about a minute"
    )
    for part in parts.PARTS:
        if part.file is not None:
            _add_file(parser, part.file)
    parser.add_argument(
        "--head",
        action="append",
        default=[],
        metavar="NAME=HEAD",
        help="head of a multihead MACE model",
    )
    parser.add_argument(
        "--charges",
        action="append",
        default=[],
        metavar=f"NAME={'|'.join(states.CHARGES)}",
        help=states.HELP,
    )
    parser.add_argument(
        "--fresh", action="store_true", help="compute finished parts of an earlier run again"
    )
    groups = {
        "data": (
            "energy_key",
            "forces_key",
            "stress_key",
            "dipole_key",
            "charge_key",
            "spin_key",
            "max_frames",
            "fit_energy_offset",
        ),
        "models": ("device", "dtype"),
    }
    for title, names in groups.items():
        add(parser.add_argument_group(title), ReportSettings, *names, quick=QUICK)
    measured = parser.add_argument_group(Part.option_group)
    add(measured, ReportSettings, "parts", quick=QUICK)
    _add_own(measured, Part.option_group)
    add(measured, ReportSettings, "resamples", "seed", quick=QUICK)
    for title in dict.fromkeys(part.option_group for part in parts.PARTS):
        if title != Part.option_group:
            _add_own(parser.add_argument_group(title), title)
    return parser


def _add_own(group: argparse._ArgumentGroup, title: str) -> None:
    """The options of parts that stand under a heading."""
    for part in parts.PARTS:
        if part.options is not None and part.option_group == title:
            names = (field.name for field in dataclasses.fields(part.options))
            add(group, part.options, *names, quick=part.quick)


def _add_file(parser: argparse.ArgumentParser, file: FileOption) -> None:
    keywords: dict[str, Any] = {"help": file.help, "metavar": "FILE"}
    if file.named:
        keywords |= {"action": "append", "default": [], "metavar": "NAME=FILE"}
    elif file.several:
        keywords |= {"nargs": "+", "default": [], "type": Path}
    else:
        keywords |= {"type": Path}
    parser.add_argument(file.flag, **keywords)


def merge_parser() -> argparse.ArgumentParser:
    """The parser of ``piwsl report merge``."""
    parser = argparse.ArgumentParser(
        prog="piwsl report merge",
        description="Join reports of the same data, made in different environments.",
    )
    parser.add_argument("reports", nargs="+", type=Path, help="folders of finished reports")
    parser.add_argument("--out", required=True, type=Path, help="folder of the joint report")
    return parser


def training_parser() -> argparse.ArgumentParser:
    """The parser of ``piwsl report training``."""
    parser = argparse.ArgumentParser(
        prog="piwsl report training",
        description="Plot training curves of MACE and NequIP runs, overlaid.",
    )
    parser.add_argument(
        "logs",
        nargs="+",
        type=Path,
        help="MACE's results files (results/*_train.txt), metrics.csv of NequIP's CSV logger, "
        "folders that hold them, or CSV exported from Weights & Biases",
    )
    parser.add_argument(
        "--out", default=Path("training"), type=Path, help="folder to write to (default: training)"
    )
    return parser


def settings_from(options: argparse.Namespace) -> ReportSettings:
    """The settings a user chose that all parts share.

    Raises:
        InputError: for a value that is not allowed, and a file that no part would use.
    """
    given = chosen(options, ReportSettings)
    settings = ReportSettings.create(given, quick=options.quick)
    files = files_from(options)
    needed = {
        part.choice: part.file.flag
        for part in parts.PARTS
        if part.file is not None and files[part.file.name]
    }
    if "parts" not in given:
        wanted = [name for name in parts.choices() if name in settings.parts or name in needed]
        return dataclasses.replace(settings, parts=tuple(wanted))
    for name, flag in needed.items():
        if name not in settings.parts:
            raise InputError(
                f"--parts={' '.join(settings.parts)} leaves out the {name}, for which {flag} is "
                f"given; add '{name}' to --parts, or leave {flag} out"
            )
    return settings


def own_options_from(options: argparse.Namespace) -> OwnOptions:
    """What a user chose of the options of parts.

    Raises:
        InputError: for a value that is not allowed.
    """
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in vars(options).items()}
    return own_options(given, quick=options.quick)


def files_from(options: argparse.Namespace) -> dict[str, list[tuple[str, Path]]]:
    """The files of parts, by the name of the option: name ("" without) and path.

    Raises:
        InputError: for one that is not named as it must be.
    """
    found: dict[str, list[tuple[str, Path]]] = {}
    for part in parts.PARTS:
        if part.file is None:
            continue
        given = getattr(options, part.file.name)
        if part.file.named:
            named = pairs(part.file.flag, given).items()
            found[part.file.name] = [(name, Path(file)) for name, file in named]
        else:
            several = given if part.file.several else [given] if given is not None else []
            found[part.file.name] = [("", path) for path in several]
    return found


def sources_from(options: argparse.Namespace) -> list[CalculatorSource]:
    """The models a user named.

    Raises:
        InputError: for a model that cannot be one, and a head without its model.
    """
    heads, charges = pairs("--head", options.head), pairs("--charges", options.charges)
    for name, said in charges.items():
        if said not in states.CHARGES:
            raise InputError(f"--charges {name}={said}: allowed is {' or '.join(states.CHARGES)}")
    sources = [CalculatorSource.parse_named(text, heads, charges) for text in options.model]
    for option, given in {"--head": heads, "--charges": charges}.items():
        for name in given:
            if all(source.name != name for source in sources):
                raise InputError(f"{option} {name}={given[name]}: there is no model '{name}'")
    return sources
