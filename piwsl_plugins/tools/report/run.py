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

from ...errors import InputError
from ...frames.reading import elements_of
from ..calculators import CalculatorSource
from ..loading import LoadedCalculator, load, prepare
from .data import Frames, read_labelled, read_path
from .measure import consistency, dynamics, labels, phonons, scans, vibrations
from .parts import Store
from .settings import ReportSettings

if TYPE_CHECKING:
    from ..progress import Progress
    from .hessians import LabelledHessian
    from .phonons import Crystal

#: distributions whose versions a report records, if they are installed
RECORDED = (
    *("piwsl-plugins", "ase", "numpy", "scipy", "torch", "mace-torch", "nequip"),
    *("tblite", "phonopy"),
)


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
    sources: Sequence[CalculatorSource],
    data: Sequence[Path],
    paths: Mapping[str, Path],
    hessians: Path | None,
    crystal_files: Sequence[Path],
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
        hessians: file with Hessian labels, for the part "vibrations".
        crystal_files: files with phonons of crystals, for the same; it needs one or the other.
        out: folder of the report.
        settings: what to compute.
        progress: shows how far it is.
        resume: whether finished parts are reused.

    Raises:
        InputError: for input that cannot be used.
        RunError: for a model that fails; parts finished before stay on disk.
    """
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--model: the name '{name}' is given twice")
    if "consistency" in settings.parts:
        consistency.require_torch()
    frames = read_labelled(data, settings)
    lines = _scans(frames, paths, settings)
    if "vibrations" in settings.parts and hessians is None and not crystal_files:
        raise InputError(
            "--parts=vibrations: give the file of Hessian labels with --hessians (from 'piwsl "
            "hessian', or frames with REF_hessian), or phonopy's files of crystals with --phonons"
        )
    labelled, crystals = _hessians(hessians, settings), _crystals(crystal_files, settings)
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
    tasks = list(_tasks(frames, lines, labelled, crystals, settings))
    elements = set(elements_of(frames.frames))
    others = [line.structures[0] for line in lines] + [found.atoms for found in labelled]
    others += [crystal.supercell for crystal in crystals]
    elements |= {int(z) for atoms in others for z in atoms.numbers}
    keys: dict[str, list[dict[str, Any]]] = {}
    models: dict[str, LoadedCalculator] = {}
    for source in sources:
        identity = {"model": source.digest, "dtype": settings.dtype}
        keys[source.name] = [{**identity, **task.inputs} for task in tasks]
        wanted = zip(tasks, keys[source.name])
        if not all(store.has(task.part, source.name, key) for task, key in wanted):
            # before another is measured, as it may be one that cannot be loaded
            prepare(source, (), settings.device)
            model = load(source, sorted(elements), settings.device, settings.dtype)
            for frame in frames.frames:
                model.require_told(frame.atoms, frame.where)
            models[source.name] = model
    for name in names:
        _measure_model(name, models.get(name), tasks, keys[name], store, progress)
    store.write_index()
    return store


def _measure_model(
    name: str,
    model: LoadedCalculator | None,
    tasks: Sequence[_Task],
    keys: Sequence[dict[str, Any]],
    store: Store,
    progress: Progress,
) -> None:
    """Compute the parts of a model; it is None if all of them are finished."""
    planned = list(zip(tasks, keys, strict=True))
    for stage in dict.fromkeys(task.stage for task in tasks):
        members = [(task, key) for task, key in planned if task.stage == stage]
        with progress.stage(f"{name}: {stage}", sum(t.steps for t, _ in members)) as advance:
            for task, key in members:
                work = functools.partial(task.work, model=model, advance=advance)
                if not store.part(task.part, name, key, work):
                    advance(task.steps)


def _scans(frames: Frames, paths: Mapping[str, Path], settings: ReportSettings) -> list[scans.Scan]:
    if "scans" not in settings.parts:
        return []
    given = [scans.path_scan(name, read_path(path, settings)) for name, path in paths.items()]
    return scans.bond_stretches(frames, settings) + given


def _hessians(path: Path | None, settings: ReportSettings) -> list[LabelledHessian]:
    if "vibrations" not in settings.parts or path is None:
        return []
    # reading labels needs torch, and the other parts can do without
    from .hessians import read_hessians

    return read_hessians(path, settings.vibration_structures)


def _crystals(paths: Sequence[Path], settings: ReportSettings) -> list[Crystal]:
    if "vibrations" not in settings.parts or not paths:
        return []
    from .phonons import read_crystals

    return read_crystals(paths)


def _tasks(
    frames: Frames,
    lines: Sequence[scans.Scan],
    labelled: Sequence[LabelledHessian],
    crystals: Sequence[Crystal],
    settings: ReportSettings,
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
    for found in labelled:
        yield _Task(
            found.name,
            "vibrations",
            {"hessian": found.digest, "step": vibrations.STEP},
            3 * len(found.atoms),
            functools.partial(vibrations.second_derivatives, labelled=found),
        )
    for crystal in crystals:
        yield _Task(
            crystal.name,
            "phonons",
            {"crystal": crystal.digest},
            1 + len(crystal.displaced),
            functools.partial(phonons.spectra, crystal=crystal),
        )


def _software() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in RECORDED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
