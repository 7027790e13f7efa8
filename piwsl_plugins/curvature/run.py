"""From structures to a label file: compute what is missing, then write everything out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ..report.progress import Progress
from .calculators import CalculatorSource
from .errors import CurvatureError
from .frames import Structures
from .labelling import Outcome, label
from .settings import CurvatureSettings
from .storage import Store

#: failures that an error message spells out
_SHOWN = 5


def measure(
    structures: Structures,
    source: CalculatorSource,
    settings: CurvatureSettings,
    out: Path,
    workers: int = 1,
    skip_failed: bool = False,
    overwrite: bool = False,
) -> list[str]:
    """Label ``structures`` and write them to ``out``.

    Args:
        structures: from :func:`piwsl_plugins.curvature.frames.read_structures`.
        source: the calculator.
        settings: how to measure.
        out: name of the npz file.
        workers: number of processes.
        skip_failed: whether frames on which the calculator fails are left out; otherwise they
            are an error, after the other frames are done and kept.
        overwrite: whether ``out`` and an unfinished run are thrown away first.

    Returns:
        lines that tell the user what happened.

    Raises:
        CurvatureError: for input that cannot be used, or failures.
    """
    run = {"calculator": source.identity, **dataclasses.asdict(settings)}
    store = Store(out, run, overwrite)
    surplus = store.surplus(structures.structures)
    if surplus:
        raise CurvatureError(
            f"{out} also holds labels of {surplus} frames that are not selected now; give another "
            "--out, or --overwrite to make the file anew"
        )
    missing = [one for one in structures.structures if store.finished(one) is None]
    elements = sorted({int(z) for one in structures.structures for z in one.atoms.numbers})
    failed: list[Outcome] = []
    seconds = []
    with Progress() as progress, progress.stage("curvature", len(missing)) as advance:
        for outcome in label(missing, source, elements, settings, workers):
            if outcome.finished is None:
                failed.append(outcome)
            else:
                store.keep(outcome.structure, outcome.finished)
                seconds.append(outcome.seconds)
            advance()
    n_done = len(structures.structures) - len(failed)
    if failed and (n_done == 0 or not skip_failed):
        kept = "" if n_done == 0 else f"; {n_done} others are kept in {store.folder}"
        remedy = "" if n_done == 0 else ", and --skip_failed leaves out what still fails"
        again = "; the same command tries again" if n_done else ""
        raise CurvatureError(
            f"{source.text} failed on {len(failed)} of {len(structures.structures)} frames: "
            f"{_spelled(failed)}{kept}{again}{remedy}"
        )
    store.complete(structures.structures, f"{source.identity}; {_method(settings)}")
    return _notes(structures, failed, n_done - len(seconds), seconds)


def _method(settings: CurvatureSettings) -> str:
    return (
        f"Hessians up to {settings.max_hessian_atoms} atoms by central differences of forces with "
        f"{settings.step:g} Å, otherwise {settings.probes} probes of at most "
        f"{settings.max_displacement:g} Å per component, seed {settings.seed}"
    )


def _spelled(failed: list[Outcome]) -> str:
    failed = sorted(failed, key=lambda outcome: outcome.structure.where)
    shown = "; ".join(f"{one.structure.where} ({one.failure})" for one in failed[:_SHOWN])
    return shown + (f"; and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else "")


def _notes(
    structures: Structures, failed: list[Outcome], n_reused: int, seconds: list[float]
) -> list[str]:
    notes = []
    if structures.n_single_atoms:
        notes.append(f"{structures.n_single_atoms} single atoms left out: they have no curvature")
    if structures.n_repeated:
        notes.append(f"{structures.n_repeated} repeated frames labelled once")
    if failed:
        notes.append(f"{len(failed)} frames left out, on which the calculator failed")
        notes += [f"  {one.structure.where}: {one.failure}" for one in failed]
    if n_reused:
        notes.append(f"{n_reused} frames were finished before")
    if seconds:
        notes.append(f"{sum(seconds) / len(seconds):.3g} s per frame")
    return notes
