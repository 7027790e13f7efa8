"""The command ``piwsl hessian``."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path

from ...options.settings import Hessian
from .. import states
from ..calculators import CalculatorSource
from ..options import chosen
from ..outputs import alone, check_new
from .arguments import build_parser, check, out_path, outputs_of
from .settings import HessianSettings


def main(given: list[str]) -> None:
    """Run the command with its arguments."""
    # before anything that starts threads is loaded; a choice of the user's stays
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    options = build_parser().parse_args(given)
    check(options)
    settings = HessianSettings(**chosen(options, HessianSettings))
    out = out_path(options)
    with alone(*outputs_of(options)):
        if options.calculator:
            assert out is not None
            where, notes = _measure(options, settings, out)
        else:
            where, notes = _convert(options, out)
        if out is None:
            print("\n".join(notes))
            return

        from .label_file import read
        from .summary import how_to_train, summarise, unexpected_modes

        if options.expect:
            notes += unexpected_modes(read(out), where, options.expect)
        training = chosen(options, Hessian)
        tolerance = Hessian(**training).hessian_tolerance
        print(summarise(out, settings.max_displacement, notes, tolerance))
        of_supercells = bool(options.from_phonopy or options.from_phonons)
        print(how_to_train(out, of_supercells, options.frames, training))


def _measure(
    options: argparse.Namespace, settings: HessianSettings, out: Path
) -> tuple[list[str], list[str]]:
    """Labels from a calculator: compute what is missing.

    Returns:
        the frame of each label, and lines on what happened.
    """
    from ...frames.reading import elements_of
    from ..labelling import label
    from ..loaded_calculators import prepare
    from ..runs import Run
    from .label_file import read_finished, write_finished
    from .measurement import Measurement
    from .selection import select

    source = CalculatorSource.parse(options.calculator, options.head, charges=options.charges)
    source.require_package()
    selection = select(options.data, options.index, states.named(options))
    prepare(source, selection.frames, options.device)
    made_with = {"calculator": source.identity, **dataclasses.asdict(settings)}
    run = Run(out, made_with, options.overwrite, read_finished)
    labelled = label(
        selection.frames,
        Measurement(source, elements_of(selection.frames), settings, options.device),
        run,
        "hessian",
        source.source,
        options.workers,
        options.skip_failed,
        options.executor,
    )
    write_finished(run.out, labelled, f"{source.identity}; {settings}", run.settings)
    run.end()
    return [frame.where for frame in labelled.frames], selection.notes + labelled.notes


def _convert(options: argparse.Namespace, out: Path | None) -> tuple[list[str], list[str]]:
    """Labels from finished calculations; structures alone without a file for the labels.

    Returns:
        the file of each label, and lines on them.
    """
    from .label_file import write
    from .training_frames import write_training_frames

    tolerance = Hessian(**chosen(options, Hessian)).hessian_tolerance
    for path in outputs_of(options):
        check_new(path, options.overwrite)
    if options.from_vibrations:
        from .vibrations import from_vibrations

        converted = from_vibrations(
            options.from_vibrations, options.data, options.index, options.delta
        )
    elif options.from_phonons:
        from .phonons import from_phonons

        supercell = tuple(options.supercell)
        converted = from_phonons(options.from_phonons, options.data, supercell, options.delta)
    elif options.from_output:
        from .program_outputs import from_outputs

        converted = from_outputs(
            options.from_output, options.data, options.index, options.geometry or ()
        )
    elif options.from_phonopy:
        from .phonopy_sets import from_phonopy

        converted = from_phonopy(options.from_phonopy, labels=out is not None)
    else:
        from .conversion import from_frames

        converted = from_frames(options.data)
    notes = list(converted.notes)
    if out is None:
        notes.append(write_training_frames(options.frames, converted.displaced))
        return list(converted.where), notes
    write(out, converted.symmetric(tolerance), converted.method)
    if options.frames is not None:
        notes.append(write_training_frames(options.frames, converted.structures()))
    return list(converted.where), notes
