"""The command ``piwsl-curvature``."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence

from .errors import CurvatureError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status (2 for input that cannot be used)."""
    try:
        _run(list(sys.argv[1:] if arguments is None else arguments))
    except CurvatureError as error:
        print(f"piwsl-curvature: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\npiwsl-curvature: interrupted; the same command goes on where it stopped",
            file=sys.stderr,
        )
        return 130
    return 0


def _run(given: list[str]) -> None:
    # before anything that starts threads is loaded; a choice of the user's stays
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from .arguments import build_parser, check, out_path, settings_from

    options = build_parser().parse_args(given)
    check(options)
    settings = settings_from(options)
    _require_packages()
    from .summary import summarise

    notes = _measure(options) if options.calculator else _convert(options)
    print(summarise(out_path(options), settings.max_displacement, notes))


def _require_packages() -> None:
    missing = [name for name in ("ase", "rich") if importlib.util.find_spec(name) is None]
    if missing:
        raise CurvatureError(
            f'{" and ".join(missing)} must be installed: pip install "piwsl-plugins[curvature]"'
        )
    if importlib.util.find_spec("torch") is None:
        raise CurvatureError("torch must be installed; it comes with MACE and NequIP")


def _measure(options: argparse.Namespace) -> list[str]:
    from .arguments import out_path, settings_from
    from .calculators import CalculatorSource
    from .frames import read_structures
    from .run import measure

    source = CalculatorSource.parse(options.calculator, options.head, options.device)
    structures = read_structures(options.data, options.index)
    return measure(
        structures,
        source,
        settings_from(options),
        out_path(options),
        options.workers,
        options.skip_failed,
        options.overwrite,
    )


def _convert(options: argparse.Namespace) -> list[str]:
    from .arguments import out_path
    from .convert import from_frames, from_phonons, from_vibrations
    from .storage import write

    out = out_path(options)
    if out.exists() and not options.overwrite:
        raise CurvatureError(f"{out} exists; give another --out, or --overwrite to replace it")
    if options.from_vibrations:
        converted = from_vibrations(
            options.from_vibrations, options.data, options.index, options.delta
        )
    elif options.from_phonons:
        supercell = tuple(options.supercell)
        converted = from_phonons(options.from_phonons, options.data, supercell, options.delta)
    else:
        converted = from_frames(options.data)
    write(out, converted.structures, converted.found, converted.method, {})
    return []
