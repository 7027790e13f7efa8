"""The options of ``piwsl pool``."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import states, workers
from ..calculators import FORMS
from ..options import add
from ..outputs import XYZ, check_file, check_new, require_ending
from .settings import PoolSettings

_EPILOG = """\
examples:
  piwsl pool train.xyz --calculator GFN2-xTB --out pool.xyz --figure pool.png
  piwsl pool train.xyz --calculator GFN2-xTB --temperatures 300 600 --n 1000 --workers 4 \\
      --exclude valid.xyz test.xyz --out pool.xyz
  piwsl pool cells.xyz --calculator my_potential:calculator --pressure 0 --timestep 1 \\
      --temperatures 300 900 --out pool.xyz

then choose what to label, or label all of it with a cheap method and a correction
  piwsl select pool.xyz --given train.xyz --n 20 --out chosen.xyz
  piwsl weak train.xyz pool.xyz --calculator GFN2-xTB --train "mace_run_train ..." --out weak.xyz

An interrupted run goes on with the same command. Sample hotter than the use of the model.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    parser = argparse.ArgumentParser(
        prog="piwsl pool",
        description="Structures for a pool: molecular dynamics from your frames with any "
        "calculator, at several temperatures. Trajectories that go wrong are cut and counted.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EPILOG,
    )
    parser.add_argument(
        "data", type=Path, help="frames to begin at, in any of ASE's formats (extended XYZ, …)"
    )
    parser.add_argument("--calculator", required=True, metavar="CALC", help=FORMS)
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help="extended XYZ to write"
    )
    parser.add_argument(
        "--index",
        default=":",
        help="frames to begin at, as ASE writes it: 0:10, ::5 (default: all)",
    )
    parser.add_argument(
        "--exclude",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="validation and test frames: none of them enters, and no trajectory begins at one",
    )
    parser.add_argument(
        "--figure", type=Path, metavar="FILE", help="draw what the pool covers (.png or .pdf)"
    )
    parser.add_argument(
        "--labels",
        action="store_true",
        help="write the calculator's REF_energy, REF_forces and REF_stress too, for piwsl weak "
        "--cheap_labels or pretraining; without them nobody takes them for expensive labels",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace OUT and an unfinished run of it"
    )

    dynamics = parser.add_argument_group("the dynamics")
    names = ("temperatures", "n", "spacing", "equilibration", "per_run")
    add(dynamics, PoolSettings, *names)
    add(dynamics, PoolSettings, "timestep", "friction", "pressure", "relax", "allow_reactions")
    add(dynamics, PoolSettings, "seed")

    calculator = parser.add_argument_group("the calculator")
    workers.add_options(calculator)
    calculator.add_argument(
        "--device", default="cpu", help="of MACE and NequIP models (default: cpu)"
    )
    calculator.add_argument("--head", help="head of a multihead MACE model")
    states.add_option(calculator)
    states.add_names(parser)
    return parser


def check(options: argparse.Namespace) -> None:
    """Refuse options that cannot be used.

    Raises:
        InputError: naming the option.
    """
    from ..runs import is_unfinished, replaced

    workers.check_options(options)
    require_ending("--out", options.out, XYZ)
    check_new(options.out, options.overwrite or replaced(options.out))
    if options.figure is not None:
        require_ending("--figure", options.figure, (".png", ".pdf"))
        # that of an unfinished run is its own, drawn before the pool was written
        check_new(options.figure, options.overwrite or is_unfinished(options.out))
    for path in outputs_of(options):
        check_file(path, (options.data, *options.exclude))


def outputs_of(options: argparse.Namespace) -> list[Path]:
    """The files to write."""
    return [options.out, *([] if options.figure is None else [options.figure])]
