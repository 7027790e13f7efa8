"""The options of ``piwsl-curvature``."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from .calculators import XTB_METHODS
from .errors import CurvatureError
from .settings import CurvatureSettings

_EPILOG = """\
examples:
  piwsl-curvature train.xyz --calculator GFN2-xTB
  piwsl-curvature train.xyz --calculator my_dft:calculator --index ::10 --workers 8
  piwsl-curvature big.xyz --calculator foundation.model --max_hessian_atoms 0 --probes 32
  piwsl-curvature relaxed.xyz --from_vibrations vib --delta 0.01
  piwsl-curvature cell.xyz --from_phonons phonon --supercell 2 2 2 --delta 0.01

then train with
  mace_run_train --loss=piwsl --piwsl_pitc_target=curvature --piwsl_curvature_file=LABELS.npz ...

An interrupted run goes on with the same command. Constraints of the frames are ignored: labels
cover all atoms.
"""

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(CurvatureSettings)}


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    parser = argparse.ArgumentParser(
        prog="piwsl-curvature",
        description="Curvature labels (Hessians, or curvature along random displacements) for "
        "your own structures, from any ASE calculator or from finished vibrations and phonons.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EPILOG,
    )
    parser.add_argument(
        "data", type=Path, nargs="?", help="structures, in any of ASE's formats (extended XYZ, …)"
    )
    parser.add_argument(
        "--out", type=Path, help="label file to write (default: DATA.curvature.npz beside the data)"
    )
    parser.add_argument(
        "--index", default=":", help="frames to use, as ASE writes it: 0:100, ::10 (default: all)"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace labels and unfinished runs at --out"
    )

    source = parser.add_argument_group("where curvature comes from (one of these)")
    source.add_argument(
        "--calculator",
        metavar="CALC",
        help=f"{', '.join(XTB_METHODS)} (pip install tblite); a MACE .model; a NequIP "
        ".nequip.zip, .ckpt or compiled file; or module:factory, a function without arguments "
        "that returns an ASE calculator",
    )
    source.add_argument(
        "--from_vibrations",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="JSON files of ASE's VibrationsData, or folders of ASE's Vibrations (these need "
        "DATA, one structure per folder, and --delta)",
    )
    source.add_argument(
        "--from_phonons",
        type=Path,
        metavar="DIR",
        help="folder of ASE's Phonons (needs DATA, the unit cell, --supercell and --delta); "
        "labels the supercell and the cell",
    )
    source.add_argument(
        "--from_frames",
        action="store_true",
        help="DATA carries Hessians under REF_hessian (eV/Å²)",
    )

    measure = parser.add_argument_group("how it is measured (with --calculator)")
    _number(measure, "step", "displacement of the central differences of forces")
    _number(
        measure,
        "max_hessian_atoms",
        "largest structure that gets a whole Hessian (6 force calculations per atom); larger ones "
        "get probes",
    )
    _number(measure, "probes", "random displacements of a structure without Hessian")
    _number(
        measure,
        "max_displacement",
        "bound of every component of the probes; training displaces these structures by them",
    )
    _number(measure, "seed", "seed of the probes")
    measure.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes, of one thread each unless OMP_NUM_THREADS says otherwise (default: 1)",
    )
    measure.add_argument("--device", default="cpu", help="of MACE and NequIP models (default: cpu)")
    measure.add_argument("--head", help="head of a multihead MACE model")
    measure.add_argument(
        "--skip_failed",
        action="store_true",
        help="write labels of the others where the calculator fails on some frames",
    )

    convert = parser.add_argument_group("what finished calculations do not say of themselves")
    convert.add_argument(
        "--delta", type=float, metavar="Å", help="the delta that Vibrations or Phonons was given"
    )
    convert.add_argument(
        "--supercell", type=int, nargs=3, metavar="N", help="the supercell that Phonons was given"
    )
    return parser


def settings_from(options: argparse.Namespace) -> CurvatureSettings:
    """The measuring options as settings."""
    return CurvatureSettings(**{name: getattr(options, name) for name in _DEFAULTS})


def check(options: argparse.Namespace) -> None:
    """Refuse combinations of options that make no sense.

    Raises:
        CurvatureError: naming the options.
    """
    sources = ("calculator", "from_vibrations", "from_phonons", "from_frames")
    given = [name for name in sources if getattr(options, name)]
    if len(given) != 1:
        names = ", ".join(f"--{name}" for name in sources)
        found = " and ".join(f"--{name}" for name in given) or "none"
        raise CurvatureError(f"give one of {names}; {found} is given")
    if options.data is None and not options.from_vibrations:
        raise CurvatureError(f"--{given[0]} needs a file of structures")
    if options.data is None and options.out is None:
        raise CurvatureError("without a file of structures, give --out")
    if options.workers < 1:
        raise CurvatureError(f"--workers={options.workers}: allowed is 1 or more")
    if options.delta is not None and not 0 < options.delta <= 0.5:
        raise CurvatureError(f"--delta={options.delta}: allowed is above 0, at most 0.5 Å")
    if options.from_phonons and (options.supercell is None or min(options.supercell) < 1):
        raise CurvatureError("--from_phonons needs --supercell, three numbers of 1 or more")
    if options.from_phonons and options.delta is None:
        raise CurvatureError(
            "--from_phonons needs --delta, the displacement in Å that Phonons was given (ASE's "
            "default is 0.01); the folder does not hold it"
        )


def out_path(options: argparse.Namespace) -> Path:
    """Where the labels go."""
    if options.out is not None:
        return options.out
    return options.data.with_name(f"{options.data.stem}.curvature.npz")


def _number(group: argparse._ArgumentGroup, name: str, text: str) -> None:
    default = _DEFAULTS[name]
    group.add_argument(
        f"--{name}",
        type=type(default),
        default=default,
        metavar="N" if isinstance(default, int) else "Å",
        help=f"{text} (default: {default})",
    )
