"""One report from models and data: compute what is missing, then write everything out."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ... import progress
from ...errors import InputError
from ...frames.reading import elements_of
from ..calculators import CalculatorSource
from ..loaded_calculators import LoadedCalculator, load, prepare
from . import parts
from .finished_pieces import FinishedPieces
from .frame_set import read_labelled, reference
from .part import Given, Part, Piece
from .settings import OwnOptions, ReportSettings, as_dict

#: distributions whose versions a report records, if they are installed
RECORDED = (
    *("piwsl-plugins", "ase", "numpy", "scipy", "torch", "mace-torch", "nequip"),
    *("tblite", "phonopy"),
)


def measure(
    sources: Sequence[CalculatorSource],
    data: Sequence[Path],
    files: Mapping[str, Sequence[tuple[str, Path]]],
    out: Path,
    settings: ReportSettings,
    own: OwnOptions,
    resume: bool = True,
) -> FinishedPieces:
    """Compute every piece of every model that ``out`` does not hold yet.

    Args:
        sources: the models; the first is the one that others are compared with.
        data: files with labelled frames.
        files: what options of parts were given, by the name of the option: name ("" without) and
            path.
        out: folder of the report.
        settings: what to compute.
        own: the options of the parts.
        resume: whether finished pieces are reused.

    Raises:
        InputError: for input that cannot be used.
        RunError: for a model that fails; pieces finished before stay on disk.
    """
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--model: the name '{name}' is given twice")
    wanted = _chosen(settings, files)
    for part in wanted:
        part.require()
    frames = read_labelled(data, settings)
    #: by what the progress bar says
    planned: dict[str, list[Piece]] = {}
    for part in wanted:
        own_files = files.get(part.file.name, ()) if part.file is not None else ()
        pieces = planned.setdefault(part.stage or part.name, [])
        pieces += part.pieces(Given(frames, settings, own, own_files))
    finished = FinishedPieces(out, resume)
    finished.begin(
        {
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "software": _software(),
            "settings": as_dict(settings, own),
            "models": [dataclasses.asdict(source) for source in sources],
            "data": reference(frames),
        }
    )
    everything = [piece for pieces in planned.values() for piece in pieces]
    elements = set(elements_of(frames.frames))
    elements |= {int(z) for piece in everything for z in piece.numbers}
    keys: dict[str, dict[str, dict[str, Any]]] = {}
    models: dict[str, LoadedCalculator] = {}
    for source in sources:
        identity = {"model": source.digest, "dtype": settings.dtype}
        own_keys = {piece.name: {**identity, **piece.inputs} for piece in everything}
        keys[source.name] = own_keys
        if not all(finished.has(name, source.name, key) for name, key in own_keys.items()):
            # before another is measured, as it may be one that cannot be loaded
            prepare(source, (), settings.device)
            model = load(source, sorted(elements), settings.device, settings.dtype)
            for frame in frames.frames:
                model.require_told(frame.atoms, frame.where)
            models[source.name] = model
    for name in names:
        for stage, pieces in planned.items():
            if pieces:
                with progress.stage(f"{name}: {stage}", sum(p.steps for p in pieces)) as advance:
                    for piece in pieces:
                        work = functools.partial(
                            piece.work, model=models.get(name), advance=advance
                        )
                        if not finished.have(piece.name, name, keys[name][piece.name], work):
                            advance(piece.steps)
    finished.write_index()
    return finished


def _chosen(
    settings: ReportSettings, files: Mapping[str, Sequence[tuple[str, Path]]]
) -> list[Part[Any]]:
    """The parts to measure, without those that need files and have none.

    Raises:
        InputError: where none is left of what ``--parts`` names.
    """
    wanted: list[Part[Any]] = []
    for choice in settings.parts:
        members = [part for part in parts.PARTS if part.choice == choice]
        ready = [p for p in members if not p.needs_file or (p.file and files.get(p.file.name))]
        if not ready:
            ask = ", or ".join(part.file.wanted for part in members if part.file is not None)
            raise InputError(f"--parts={choice}: give {ask}")
        wanted += ready
    return [part for part in parts.PARTS if part in wanted]


def _software() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in RECORDED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
