"""The options of ``piwsl weak``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...errors import InputError
from .. import states, workers
from ..calculators import FORMS
from ..options import add
from ..outputs import XYZ, check_file, require_ending
from .settings import STAGES, WeakSettings

_EPILOG = """\
examples:
  piwsl weak train.xyz pool.xyz --calculator GFN2-xTB --out weak.xyz \\
      --train "mace_run_train --config correction.yaml"
  piwsl weak train.xyz pool.xyz --cheap_labels low_level.xyz --out weak.xyz \\
      --train "nequip-train correction.yaml"
  piwsl weak train.xyz pool.xyz --calculator large.model --models 0 --out distilled.xyz
  piwsl weak train.xyz pool.xyz --calculator GFN2-xTB --models 0 --offsets --out cheap.xyz

then train an ordinary model on both with
  mace_run_train --loss=piwsl --piwsl_pool_file=weak.xyz --train_file=train.xyz ...
or, in the loss of a config of nequip-train, with
  pool_file: weak.xyz

piwsl configs mace/correction (or nequip/correction, and weak) copies a commented config for each
training. Every stage is kept in the folder beside OUT; an interrupted run goes on with the same
command.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    parser = argparse.ArgumentParser(
        prog="piwsl weak",
        description="Weak labels for a pool of structures: those of a cheap method plus a "
        "correction, learned by the trainer that you use from few expensive labels.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EPILOG,
    )
    parser.add_argument("training", metavar="TRAIN", type=Path, help="frames with expensive labels")
    parser.add_argument("pool", metavar="POOL", type=Path, help="structures to label")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help="extended XYZ to write"
    )
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="of the stages (default: OUT.stages beside it)"
    )
    parser.add_argument(
        "--until", choices=list(STAGES)[:-1], help="stop after this stage (default: all stages)"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace OUT and the stages of another run"
    )

    cheap = parser.add_argument_group("the cheap method (one of these)")
    cheap.add_argument("--calculator", metavar="CALC", help=FORMS)
    cheap.add_argument(
        "--cheap_labels",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="frames of both files with labels of the cheap method, found by geometry",
    )
    cheap.add_argument("--head", help="head of a multihead MACE model")
    states.add_option(cheap)
    workers.add_options(cheap)
    cheap.add_argument("--device", default="cpu", help="of MACE and NequIP models (default: cpu)")

    correction = parser.add_argument_group("the correction (one of the first two)")
    correction.add_argument(
        "--train",
        metavar="COMMAND",
        help="mace_run_train or nequip-train with your config; files, seeds and folders are added. "
        "Another command says where they go: {train} {valid} {seed} {folder} {name}",
    )
    correction.add_argument(
        "--corrections", nargs="+", metavar="MODEL", help="correction models trained before"
    )
    add(correction, WeakSettings, "models", "held_out", "seed")
    correction.add_argument(
        "--offsets",
        action="store_true",
        help="with --models 0: shift the energies to those of TRAIN, by one energy per element, so "
        "that a model pretrained on OUT can be fine-tuned on TRAIN without another constant",
    )
    keys = ("energy_key", "forces_key", "stress_key", "charge_key", "spin_key")
    add(parser.add_argument_group("names of the labels"), WeakSettings, *keys)
    return parser


def check(options: argparse.Namespace, settings: WeakSettings) -> None:
    """Refuse combinations of options that make no sense.

    Raises:
        InputError: naming the options.
    """
    if bool(options.calculator) == bool(options.cheap_labels):
        given = "both are" if options.calculator else "neither is"
        raise InputError(f"give one of --calculator and --cheap_labels; {given} given")
    if options.head is not None and not options.calculator:
        raise InputError("--head goes with --calculator")
    workers.check_options(options)
    if options.train and options.corrections:
        raise InputError("give one of --train and --corrections; both are given")
    if settings.models == 0 and (options.train or options.corrections):
        raise InputError("--models=0 uses no corrections; leave out --train and --corrections")
    if options.offsets and settings.models:
        raise InputError("--offsets goes with --models=0; corrections contain the offsets")
    if settings.models == 0 and options.until in ("correction", "train"):
        raise InputError(f"--models=0 has no stage '{options.until}'")
    if options.corrections and options.until in ("correction", "train"):
        raise InputError(
            f"--until={options.until}: --corrections are trained already, so that there is no such "
            "stage; leave one of the two out"
        )
    trains = settings.models > 0 and options.until in (None, "train")
    if trains and not (options.train or options.corrections):
        raise InputError(
            "the corrections need --train, such as "
            '--train "mace_run_train --config correction.yaml", or --corrections, or --models 0 '
            "for the labels of the cheap method alone"
        )
    require_ending("--out", options.out, XYZ)
    read = (options.training, options.pool, *(options.cheap_labels or ()))
    check_file(options.out, read)
    compared = settings.models > 0 or options.offsets
    if compared and options.training.resolve() in {
        path.resolve() for path in options.cheap_labels or ()
    }:
        raise InputError(
            f"--cheap_labels={options.training}: these are the expensive labels; give the cheap "
            "method's of the same frames (piwsl weak --until cheap makes them)"
        )
    models = [Path(model) for model in options.corrections or ()]
    inside = [path for path in (*read, *models) if _is_in(path, folder_of(options))]
    if options.overwrite and inside:
        raise InputError(
            f"--overwrite: this would throw away {inside[0]}, which is read; give another --out"
        )


def _is_in(path: Path, folder: Path) -> bool:
    return folder.resolve() in path.resolve().parents


def folder_of(options: argparse.Namespace) -> Path:
    """Where the stages go."""
    folder, out = options.folder, options.out
    return Path(out.with_name(f"{out.stem}.stages") if folder is None else folder)
