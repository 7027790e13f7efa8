"""The options of ``piwsl report`` and of what follows it: ``merge`` and ``training``."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from ...errors import InputError
from .. import states
from ..calculators import FORMS, CalculatorSource
from ..options import add, chosen, pairs
from .settings import PARTS, QUICK, ReportSettings

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
    parser.add_argument(
        "--path",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="frames along a path (dihedral, proton transfer, ...) to scan; may be repeated",
    )
    parser.add_argument(
        "--hessians",
        type=Path,
        metavar="FILE",
        help="labels of 'piwsl hessian', or frames with REF_hessian (eV/Å²): adds the vibrations",
    )
    parser.add_argument(
        "--phonons",
        nargs="+",
        default=[],
        type=Path,
        metavar="FILE",
        help="crystals: phonopy_params.yaml or the like with forces or force constants in it or "
        "beside it, or Hessian labels of supercells; adds band structures and densities of states "
        "to the vibrations",
    )
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
        "what is measured": (
            *("parts", "epsilons", "consistency_frames", "draws", "stretch", "scan_points"),
            *("vibration_structures", "resamples", "seed"),
        ),
        "dynamics": (
            *("ensembles", "temperatures", "md_length", "timestep", "friction"),
            *("md_starts", "md_seeds", "bond_factor"),
        ),
    }
    for title, names in groups.items():
        add(parser.add_argument_group(title), ReportSettings, *names, quick=QUICK)
    return parser


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
    """The settings a user chose.

    Raises:
        InputError: for a value that is not allowed, and a file that no part would use.
    """
    given = chosen(options, ReportSettings)
    settings = ReportSettings.create(given, quick=options.quick)
    files = {
        "--hessians": ("vibrations", options.hessians is not None),
        "--phonons": ("vibrations", bool(options.phonons)),
        "--path": ("scans", bool(options.path)),
    }
    needed = {part: option for option, (part, is_given) in files.items() if is_given}
    if "parts" not in given:
        parts = [part for part in PARTS if part in settings.parts or part in needed]
        return dataclasses.replace(settings, parts=tuple(parts))
    for part, option in needed.items():
        if part not in settings.parts:
            raise InputError(
                f"--parts={' '.join(settings.parts)} leaves out the {part}, for which {option} is "
                f"given; add '{part}' to --parts, or leave {option} out"
            )
    return settings


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


def paths_by_name(options: argparse.Namespace) -> dict[str, Path]:
    """The paths a user named."""
    return {name: Path(file) for name, file in pairs("--path", options.path).items()}
