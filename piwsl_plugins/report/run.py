"""One report from models and data: compute what is missing, then write everything out."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import importlib.metadata
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .data import Frames, read_labelled, read_path
from .errors import ReportError
from .loading import load
from .measure import consistency, dynamics, labels, scans
from .models import Model, ModelSource
from .settings import ReportSettings
from .storage import Store

if TYPE_CHECKING:
    from .progress import Progress

#: distributions whose versions a report records, if they are installed
RECORDED = ("piwsl-plugins", "ase", "numpy", "scipy", "torch", "mace-torch", "nequip")


@dataclasses.dataclass(frozen=True)
class _Task:
    """One part: its name on disk, what it depends on, its length, and its work.

    The work is called with ``model`` and ``advance``.
    """

    part: str
    stage: str
    inputs: dict[str, Any]
    steps: float
    work: Callable[..., dict[str, Any]]


def measure(
    sources: Sequence[ModelSource],
    data: Sequence[Path],
    paths: Mapping[str, Path],
    out: Path,
    settings: ReportSettings,
    progress: Progress,
    resume: bool = True,
) -> Store:
    """Compute every part of every model that ``out`` does not hold yet.

    Args:
        sources: the models; the first is the one that others are compared with.
        data: files with labelled frames.
        paths: files with paths of frames, by name.
        out: folder of the report.
        settings: what to compute.
        progress: shows how far it is.
        resume: whether finished parts are reused.

    Raises:
        ReportError: for input that cannot be used; parts finished before stay on disk.
    """
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise ReportError(f"--model: the name '{name}' is given twice")
    if "consistency" in settings.parts:
        consistency.require_torch()
    frames = read_labelled(data, settings)
    lines = _scans(frames, paths, settings)
    store = Store(out, resume)
    store.begin(
        {
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "software": _software(),
            "settings": dataclasses.asdict(settings),
            "models": [dataclasses.asdict(source) for source in sources],
            "data": labels.reference(frames),
        }
    )
    tasks = list(_tasks(frames, lines, settings))
    elements = {int(z) for frame in frames.frames for z in frame.atoms.numbers}
    elements |= {int(z) for line in lines for z in line.structures[0].numbers}
    for source in sources:
        _measure_model(source, tasks, store, settings, sorted(elements), progress)
    return store


def _measure_model(
    source: ModelSource,
    tasks: Sequence[_Task],
    store: Store,
    settings: ReportSettings,
    elements: Sequence[int],
    progress: Progress,
) -> None:
    loaded: list[Model] = []
    identity = {"model": source.digest, "dtype": settings.dtype}

    def model() -> Model:
        # a model whose parts are all finished is never loaded
        if not loaded:
            loaded.append(load(source, settings, elements))
        return loaded[0]

    for stage in dict.fromkeys(task.stage for task in tasks):
        members = [task for task in tasks if task.stage == stage]
        with progress.stage(f"{source.name}: {stage}", sum(t.steps for t in members)) as advance:
            for task in members:
                computed = store.part(
                    task.part,
                    source.name,
                    {**identity, **task.inputs},
                    functools.partial(_work, task, model, advance),
                )
                if not computed:
                    advance(task.steps)


def _work(task: _Task, model: Callable[[], Model], advance: Callable[..., None]) -> dict[str, Any]:
    return task.work(model=model(), advance=advance)


def _scans(frames: Frames, paths: Mapping[str, Path], settings: ReportSettings) -> list[scans.Scan]:
    if "scans" not in settings.parts:
        return []
    given = [scans.path_scan(name, read_path(path, settings)) for name, path in paths.items()]
    return scans.bond_stretches(frames, settings) + given


def _tasks(
    frames: Frames, lines: Sequence[scans.Scan], settings: ReportSettings
) -> Iterator[_Task]:
    """All parts of a model, in order; ``inputs`` holds everything that a part depends on."""
    inputs = {"data": frames.digest}

    def chosen(*names: str) -> dict[str, Any]:
        return {**inputs, **{name: getattr(settings, name) for name in names}}

    if "labels" in settings.parts:
        yield _Task(
            "labels",
            "labelled frames",
            inputs,
            len(frames.frames),
            functools.partial(labels.predictions, frames=frames),
        )
    if "consistency" in settings.parts:
        yield _Task(
            "consistency",
            "consistency",
            chosen("epsilons", "consistency_frames", "draws", "seed"),
            min(settings.consistency_frames, len(frames.frames)),
            functools.partial(consistency.residuals, frames=frames, settings=settings),
        )
    for line in lines:
        yield _Task(
            line.name,
            "scans",
            {"scan": scans.digest(line)},
            len(line.structures),
            functools.partial(scans.follow, scan=line),
        )
    if "dynamics" in settings.parts:
        for run in dynamics.runs(frames, settings):
            yield _Task(
                run.name,
                "dynamics",
                chosen("md_length", "timestep", "friction", "bond_factor"),
                settings.md_length,
                functools.partial(dynamics.simulate, frames=frames, run=run, settings=settings),
            )


def _software() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in RECORDED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
