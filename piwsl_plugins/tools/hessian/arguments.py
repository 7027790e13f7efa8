"""The options of ``piwsl hessian``."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from ...errors import InputError, SettingsError
from ...options.settings import Hessian
from .. import states, workers
from ..calculators import FORMS
from ..options import add, chosen
from ..outputs import check_file
from .settings import HessianSettings

#: endings of files of structures
_STRUCTURES = (".xyz", ".extxyz", ".traj", ".db", ".cif", ".vasp")
_EPILOG = """\
examples:
  piwsl hessian train.xyz --calculator GFN2-xTB
  piwsl hessian train.xyz --calculator my_dft:calculator --index ::10 --workers 8
  piwsl hessian big.xyz --calculator foundation.model --max_hessian_atoms 0 --probes 32
  piwsl hessian --from_output freq/*.fchk --out freq.npz --frames freq.xyz --expect minimum
  piwsl hessian --from_phonopy FOLDER --out crystal.npz --frames crystal.xyz
  piwsl hessian relaxed.xyz --from_vibrations vib --delta 0.01
  piwsl hessian cell.xyz --from_phonons phonon --supercell 2 2 2 --delta 0.01

then train with
  mace_run_train --loss=piwsl --piwsl_hessian_file=LABELS.npz ...
or, in the loss of a config of nequip-train, with
  hessian_file: LABELS.npz

An interrupted run goes on with the same command. Constraints of the frames are ignored: labels
of a calculator cover all atoms.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    parser = argparse.ArgumentParser(
        prog="piwsl hessian",
        description="Hessian labels (Hessians, or force changes along random displacements) for "
        "your own structures, from any ASE calculator or from finished frequency jobs and phonons.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EPILOG,
    )
    parser.add_argument(
        "data", type=Path, nargs="?", help="structures, in any of ASE's formats (extended XYZ, …)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="label file to write: .npz, or .h5 for very many labels, which training reads one by "
        "one (default: DATA.hessian.npz beside the data)",
    )
    parser.add_argument(
        "--index", default=":", help="frames to use, as ASE writes it: 0:100, ::10 (default: all)"
    )
    parser.add_argument(
        "--expect",
        choices=("minimum", "saddle"),
        help="what the structures are: imaginary modes that do not fit are warned of",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace labels and unfinished runs at --out"
    )

    source = parser.add_argument_group("where Hessians come from (one of these)")
    source.add_argument("--calculator", metavar="CALC", help=FORMS)
    source.add_argument(
        "--from_output",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="frequency jobs: outputs and formatted checkpoints (.fchk) of Gaussian, .fchk of "
        "Q-Chem, .hess files of ORCA, outputs of VASP, Quantum ESPRESSO, CASTEP, FHI-aims and "
        "CP2K, and those of other programs (docs/hessian.md has the list); with DATA, everything "
        "is turned to the orientation of its structures",
    )
    source.add_argument(
        "--from_phonopy",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="folders with phonopy's files, one for each crystal, or phonopy_disp.yaml, "
        "phonopy_params.yaml, phonopy.yaml or phono3py_params.yaml itself, with FORCE_SETS or "
        "FORCE_CONSTANTS in it or beside it",
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

    measure = parser.add_argument_group("how they are measured (with --calculator)")
    names = ("step", "max_hessian_atoms", "probes", "max_displacement", "energies", "seed")
    add(measure, HessianSettings, *names)
    workers.add_options(measure)
    measure.add_argument("--device", default="cpu", help="of MACE and NequIP models (default: cpu)")
    measure.add_argument("--head", help="head of a multihead MACE model")
    states.add_option(measure)
    measure.add_argument(
        "--skip_failed",
        action="store_true",
        help="write labels of the others where the calculator fails on some frames",
    )

    convert = parser.add_argument_group("with finished calculations")
    convert.add_argument(
        "--delta", type=float, metavar="Å", help="the delta that Vibrations or Phonons was given"
    )
    convert.add_argument(
        "--geometry",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="structures of those files of --from_output that hold force constants alone (hessian "
        "of xTB and Turbomole, hessian.out of DFTB+, .hess of NWChem and Psi4), one for each in "
        "their order (default: what the program has written beside them)",
    )
    convert.add_argument(
        "--frames",
        type=Path,
        metavar="OUT.xyz",
        help="also write the structures, with energies and forces as far as the calculations hold "
        "them, to train on or for a pool; of random displacements of phonopy the displaced "
        "supercells too, and without --out these alone",
    )
    add(convert, Hessian, "hessian_tolerance")
    convert.add_argument(
        "--supercell", type=int, nargs=3, metavar="N", help="the supercell that Phonons was given"
    )
    states.add_names(parser)
    return parser


def check(options: argparse.Namespace) -> None:
    """Refuse combinations of options that make no sense.

    Raises:
        InputError: naming the options.
    """
    sources = (
        "calculator",
        "from_output",
        "from_phonopy",
        "from_vibrations",
        "from_phonons",
        "from_frames",
    )
    given = [name for name in sources if getattr(options, name)]
    if len(given) != 1:
        names = ", ".join(f"--{name}" for name in sources)
        found = " and ".join(f"--{name}" for name in given) or "none"
        raise InputError(f"give one of {names}; {found} is given")
    alone = options.from_output or options.from_phonopy or options.from_vibrations
    if options.data is None and not alone:
        raise InputError(f"--{given[0]} needs a file of structures")
    if options.data is None and options.out is None:
        if not (options.from_phonopy and options.frames):
            raise InputError("without a file of structures, give --out")
        if options.expect:
            raise InputError("--expect is about labels, and without --out none are written")
    if options.data is not None and options.from_phonopy:
        raise InputError("--from_phonopy takes the structure from its own file; leave DATA out")
    _check_mode(options, given[0])
    try:
        Hessian(**chosen(options, Hessian))
    except SettingsError as error:
        raise InputError(f"--{error.name}={error.value}: {error.remedy}") from None
    workers.check_options(options)
    if options.delta is not None and not 0 < options.delta <= 0.5:
        raise InputError(f"--delta={options.delta}: allowed is above 0, at most 0.5 Å")
    if options.from_phonons and (options.supercell is None or min(options.supercell) < 1):
        raise InputError("--from_phonons needs --supercell, three numbers of 1 or more")
    if options.from_phonons and options.delta is None:
        raise InputError(
            "--from_phonons needs --delta, the displacement in Å that Phonons was given (ASE's "
            "default is 0.01); the folder does not hold it"
        )
    inputs = [options.data, *(options.from_output or ()), *(options.from_phonopy or ())]
    inputs += [*(options.from_vibrations or ()), *(options.geometry or ())]
    outputs = outputs_of(options)
    for path in outputs:
        check_file(path, inputs)
    out = out_path(options)
    if out is not None and out.suffix.lower() in _STRUCTURES:
        raise InputError(
            f"--out={out}: labels are no file of structures; give a name that ends in .npz, or in "
            ".h5 for very many labels (--frames writes structures)"
        )
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise InputError("--out and --frames must be different files")


def _check_mode(options: argparse.Namespace, source: str) -> None:
    """Refuse options that the source of Hessians has no use for."""
    measuring = {field.name for field in dataclasses.fields(HessianSettings)}
    measuring |= {"workers", "executor", "device", "head", "charges", "skip_failed"}
    useless = {"frames", "hessian_tolerance"} if source == "calculator" else measuring
    if source not in ("from_vibrations", "from_phonons"):
        useless |= {"delta"}
    if source != "from_phonons":
        useless |= {"supercell"}
    if source != "from_output":
        useless |= {"geometry"}
    if source in ("from_frames", "from_phonons") or options.data is None:
        useless |= {"index"}
    absent = vars(build_parser().parse_args([]))
    for name, value in vars(options).items():
        if name in useless and value != absent.get(name):
            raise InputError(f"--{name} has no use with --{source}; leave it out")


def out_path(options: argparse.Namespace) -> Path | None:
    """Where the labels go; None if only structures are wanted."""
    out: Path | None = options.out
    data: Path | None = options.data
    if out is not None or data is None:
        return out
    return data.with_name(f"{data.stem}.hessian.npz")


def outputs_of(options: argparse.Namespace) -> list[Path]:
    """The files to write."""
    return [path for path in (out_path(options), options.frames) if path is not None]
