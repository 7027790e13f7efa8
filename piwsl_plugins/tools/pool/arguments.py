"""The options of ``piwsl pool``."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import workers
from ..calculators import FORMS
from ..errors import InputError
from ..options import add
from .settings import PoolSettings

_EPILOG = """\
examples:
  piwsl pool train.xyz --calculator GFN2-xTB --temperatures 300 600 --n 800 --out pool.xyz
  piwsl pool cells.xyz --calculator my_potential:calculator --pressure 0 --out pool.xyz
  piwsl pool train.xyz --calculator GFN2-xTB --exclude test.xyz --figure pool.png --out pool.xyz

then choose what to label, or label all weakly, with
  piwsl select pool.xyz --given train.xyz --n 20 --out chosen.xyz
  piwsl weak train.xyz pool.xyz --calculator GFN2-xTB --train "..." --out weak.xyz

An interrupted run goes on with the same command.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    parser = argparse.ArgumentParser(
        prog="piwsl pool",
        description="Structures for a pool: molecular dynamics from frames of yours, with any "
        "calculator.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EPILOG,
    )
    parser.add_argument("data", type=Path, help="frames to start from, in any of ASE's formats")
    parser.add_argument("--calculator", required=True, metavar="CALC", help=FORMS)
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help="extended XYZ to write"
    )
    parser.add_argument(
        "--index", default=":", help="frames to use, as ASE writes it: 0:100, ::10 (default: all)"
    )
    parser.add_argument(
        "--exclude",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="files whose frames must not be in the pool, such as the test set",
    )
    parser.add_argument(
        "--figure", type=Path, metavar="PNG", help="draw what the pool covers beside the frames"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace OUT and unfinished runs of it"
    )
    dynamics = parser.add_argument_group("molecular dynamics")
    names = ("n", "temperatures", "spacing", "equilibration", "timestep", "friction")
    add(dynamics, PoolSettings, *names, "pressure", "bond_factor", "seed")
    run = parser.add_argument_group("how it is run")
    workers.add_options(run)
    run.add_argument("--device", default="cpu", help="of MACE and NequIP models (default: cpu)")
    run.add_argument("--head", help="head of a multihead MACE model")
    return parser


def check(options: argparse.Namespace) -> None:
    """Refuse options that make no sense.

    Raises:
        InputError: naming the options.
    """
    workers.check_options(options)
    if options.out.suffix not in (".xyz", ".extxyz"):
        raise InputError(f"--out={options.out}: allowed is a name that ends in .xyz or .extxyz")
    if options.figure is not None and options.figure.suffix not in (".png", ".pdf", ".svg"):
        raise InputError(f"--figure={options.figure}: allowed is a name that ends in .png or .pdf")
