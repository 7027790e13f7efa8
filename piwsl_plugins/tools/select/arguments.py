"""The options of ``piwsl select``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...errors import InputError
from .. import states, workers
from ..outputs import XYZ, check_file, check_new, require_ending

METHODS = {
    "d_optimal": "the structure that adds most to the information of those before it",
    "fps": "the structure farthest from those before it",
    "random": "drawn by --seed",
}
_PICTURES = (".png", ".pdf", ".svg")
#: cutoffs that make sense (Å): beyond a bond, and below what takes hours
SHORTEST, LONGEST = 2.0, 12.0

_EPILOG = """\
examples:
  piwsl select pool.xyz --n 20 --out chosen.xyz
  piwsl select pool.xyz --n 20 --out chosen.xyz --given train.xyz --model foundation.model
  piwsl select pool.xyz --n 0 --given train.xyz --figure enough.png     is train.xyz enough?

Label chosen.xyz with your method, in this order: the first say most. Any number of them is the
choice for that number.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    parser = argparse.ArgumentParser(
        prog="piwsl select",
        description="From a pool of structures, those that say most to a potential, before any "
        "label exists; and which of the pool's environments they do not span.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EPILOG,
    )
    parser.add_argument(
        "pool", type=Path, help="structures to choose from, in any of ASE's formats"
    )
    parser.add_argument(
        "--n", type=int, required=True, metavar="N", help="how many; 0: judge --given alone"
    )
    parser.add_argument(
        "--out", type=Path, metavar="OUT.xyz", help="the chosen frames, best first (extended XYZ)"
    )
    parser.add_argument(
        "--given",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="structures that have labels already: counted in, never chosen",
    )
    parser.add_argument(
        "--method",
        choices=tuple(METHODS),
        default="d_optimal",
        help="; ".join(f"{name}: {text}" for name, text in METHODS.items())
        + " (default: d_optimal)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of --method random (default: 0)"
    )
    parser.add_argument(
        "--figure",
        type=Path,
        metavar="FILE.png",
        help="the information gained per structure, and what is not spanned",
    )
    parser.add_argument(
        "--rest", type=Path, metavar="OUT.xyz", help="the frames that remain to choose from"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")

    described = parser.add_argument_group("what describes an environment")
    described.add_argument(
        "--model",
        metavar="FILE",
        help="a MACE .model, MACE's name of a foundation model (mace_mp:medium-mpa-0), or a NequIP "
        ".nequip.zip or .ckpt: its invariant node features "
        "(default: SOAP power spectra)",
    )
    described.add_argument(
        "--cutoff",
        type=float,
        metavar="Å",
        help="of SOAP: how far an environment reaches (default: 5)",
    )
    described.add_argument("--head", help="head of a multihead MACE model")
    described.add_argument("--device", default="cpu", help="of the model (default: cpu)")
    workers.add_options(described)
    states.add_names(parser)
    return parser


def check(options: argparse.Namespace) -> None:
    """Refuse options that cannot be used together, and outputs that exist.

    Raises:
        InputError: naming the option.
    """
    workers.check_options(options)
    if options.n < 0:
        raise InputError(f"--n={options.n}: allowed is 0 or more")
    if options.seed < 0:
        raise InputError(f"--seed={options.seed}: allowed is 0 or more")
    if options.n == 0 and not options.given:
        raise InputError("--n=0 judges the structures of --given, and none are given")
    if options.n == 0 and (options.out or options.rest):
        raise InputError("--n=0 chooses nothing; leave --out and --rest out")
    if options.n > 0 and options.out is None:
        raise InputError(f"--n={options.n} needs --out, the file for the chosen frames")
    if options.head is not None and options.model is None:
        raise InputError("--head is the head of a MACE model; give it as --model")
    if options.cutoff is not None:
        if options.model is not None:
            raise InputError("--cutoff is that of SOAP; a model has its own, so leave it out")
        if not SHORTEST <= options.cutoff <= LONGEST:
            raise InputError(
                f"--cutoff={options.cutoff:g}: allowed is {SHORTEST:g} to {LONGEST:g} Å"
            )
    inputs = (options.pool, *options.given, None if options.model is None else Path(options.model))
    outputs = outputs_of(options)
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise InputError("--out, --rest and --figure must be different files")
    for name, endings in {"out": XYZ, "rest": XYZ, "figure": _PICTURES}.items():
        if getattr(options, name) is not None:
            require_ending(f"--{name}", getattr(options, name), endings)
    for path in outputs:
        check_file(path, inputs)
        check_new(path, options.overwrite)


def outputs_of(options: argparse.Namespace) -> list[Path]:
    """The files to write."""
    outputs = (options.out, options.rest, options.figure)
    return [path for path in outputs if path is not None]
