"""The options of ``piwsl-report``, and what they mean as settings, models and paths."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from .errors import ReportError
from .loading import parse
from .models import ModelSource
from .settings import ENSEMBLES, PARTS, QUICK, ReportSettings

_EPILOG = """\
other commands:
  piwsl-report merge REPORT REPORT ... --out DIR    join reports from different environments
  piwsl-report training LOG ... [--out DIR]         plot training curves

example:
  piwsl-report --model base=baseline.model --model piwsl=piwsl.model --data test.xyz --out report
"""

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(ReportSettings)}


def build_parser() -> argparse.ArgumentParser:
    """The parser of the main command."""
    parser = argparse.ArgumentParser(
        prog="piwsl-report",
        description="Judge trained potentials side by side: errors, softening, smoothness and "
        "molecular dynamics, as tables, figures and one HTML page.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="NAME=MODEL",
        help="a MACE .model, a NequIP .nequip.zip, .nequip.pt2, .nequip.pth or .ckpt, or "
        "module:factory for an ASE calculator; give it again for each model, the one to compare "
        "with first",
    )
    parser.add_argument(
        "--data", nargs="+", required=True, type=Path, help="labelled frames, extended XYZ"
    )
    parser.add_argument("--out", required=True, type=Path, help="folder of the report")
    parser.add_argument(
        "--quick", action="store_true", help="fewer frames and shorter dynamics: about a minute"
    )
    parser.add_argument(
        "--path",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="frames along a path (dihedral, proton transfer, ...) to scan; may be repeated",
    )
    parser.add_argument(
        "--head",
        action="append",
        default=[],
        metavar="NAME=HEAD",
        help="head of a multihead MACE model",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="compute finished parts of an earlier run again"
    )
    data = parser.add_argument_group("data")
    _add(data, "energy_key", "key of the energy label (eV)")
    _add(data, "forces_key", "key of the force label (eV/Å), 'none' for data without")
    _add(data, "stress_key", "key of the stress label (eV/Å³)")
    _add(data, "max_frames", "evenly spaced frames to evaluate, 0 for all", type=int)
    data.add_argument(
        "--fit-energy-offset",
        action="store_true",
        default=argparse.SUPPRESS,
        help="fit one energy per element to the energy errors and take it off (model and data of "
        "different levels of theory)",
    )
    models = parser.add_argument_group("models")
    _add(models, "device", "torch device")
    _add(
        models,
        "dtype",
        "precision of MACE models ('model': as stored)",
        choices=("float64", "float32", "model"),
    )
    what = parser.add_argument_group("what is measured")
    _add(what, "parts", "", nargs="+", choices=PARTS)
    _add(what, "epsilons", "largest displacements (Å)", type=float, nargs="+", metavar="Å")
    _add(what, "consistency_frames", "frames on which consistency is measured", type=int)
    _add(what, "draws", "displacement fields per frame", type=int)
    _add(
        what,
        "stretch",
        "range of bond-stretch scans, relative to the bond",
        type=float,
        nargs=2,
        metavar=("FROM", "TO"),
    )
    _add(what, "scan_points", "points of a bond-stretch scan", type=int)
    _add(what, "resamples", "bootstrap resamples", type=int)
    _add(what, "seed", "seed of displacements, velocities and resampling", type=int)
    md = parser.add_argument_group("dynamics")
    _add(md, "ensembles", "", nargs="+", choices=ENSEMBLES)
    _add(md, "temperatures", "temperatures (K)", type=float, nargs="+", metavar="K")
    _add(md, "md_length", "length of a run (ps)", type=float)
    _add(md, "timestep", "time step (fs)", type=float)
    _add(md, "friction", "friction of Langevin runs (1/fs)", type=float)
    _add(md, "md_starts", "frames from which runs start", type=int)
    _add(md, "md_seeds", "velocity seeds for each start", type=int)
    _add(
        md,
        "bond_factor",
        "a bond is broken beyond this multiple of the sum of covalent radii, 0: do not check",
        type=float,
    )
    return parser


def settings_from(options: argparse.Namespace) -> ReportSettings:
    """The settings a user chose.

    Raises:
        ReportError: for a value that is not allowed.
    """
    given = {}
    for name, default in _DEFAULTS.items():
        if hasattr(options, name):
            value = getattr(options, name)
            given[name] = tuple(value) if isinstance(default, tuple) else value
    return ReportSettings.create(given, quick=options.quick)


def sources_from(options: argparse.Namespace) -> list[ModelSource]:
    """The models a user named.

    Raises:
        ReportError: for a model that cannot be one, and a head without its model.
    """
    heads = dict(_pair("--head", text) for text in options.head)
    sources = [parse(text, heads) for text in options.model]
    for name in heads:
        if all(source.name != name for source in sources):
            raise ReportError(f"--head {name}={heads[name]}: there is no model '{name}'")
    return sources


def paths_by_name(options: argparse.Namespace) -> dict[str, Path]:
    """The paths a user named."""
    return {name: Path(file) for name, file in (_pair("--path", text) for text in options.path)}


def _pair(option: str, text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name.replace("-", "").replace("_", "").isalnum() or not value:
        raise ReportError(f"{option} {text!r}: write NAME=VALUE, the name of letters and digits")
    return name, value


def _add(group: argparse._ArgumentGroup, name: str, help: str, **keywords: object) -> None:
    """An option named as its setting; left out, it keeps the setting's own or quick default."""

    def words(value: object) -> str:
        return " ".join(f"{v}" for v in value) if isinstance(value, tuple) else f"{value}"

    quick = f"; quick: {words(QUICK[name])}" if name in QUICK else ""
    default = f"(default: {words(_DEFAULTS[name])}{quick})"
    group.add_argument(
        "--" + name.replace("_", "-"),
        dest=name,
        default=argparse.SUPPRESS,
        help=f"{help} {default}".strip(),
        **keywords,  # type: ignore[arg-type]
    )
