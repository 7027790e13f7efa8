"""Labels of structures by a calculator, in a file of their own that a later run goes on with."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...frames.reading import Frame, Keys, elements_of, iterate_atoms
from ..calculators import CalculatorSource
from ..labelling import label
from ..loaded_calculators import LazyCalculator
from ..runs import Arrays, Run
from ..storage import read_json, write_json
from ..workers import PROCESSES
from .frame_labels import write_frames

if TYPE_CHECKING:
    from ase import Atoms

_KEYS = Keys()
#: of keys in files, where ASE would take some of them for numbers
_PREFIX = "frame-"


@dataclasses.dataclass(frozen=True)
class FoundLabels:
    """Labels, and why there are none, by the key of the structure; lines on what was not read."""

    labels: dict[str, Arrays]
    failures: dict[str, str]
    notes: Sequence[str] = ()


class LabelFunction:
    """A function of structures for :func:`piwsl_plugins.tools.labelling.label`."""

    def __init__(self, source: CalculatorSource, elements: Sequence[int], device: str) -> None:
        """
        Args:
            source: the calculator.
            elements: atomic numbers of all structures.
            device: torch device of MACE and NequIP models.
        """
        self._calculator = LazyCalculator(source, elements, device)

    def __call__(self, frame: Frame) -> Arrays:
        """Energy, forces if the calculator has them, and stress if the cell is periodic too.

        Raises:
            InputError: if the calculator cannot be loaded.
            ArithmeticError: for numbers that are not finite.
        """
        from ase.calculators.calculator import PropertyNotImplementedError

        atoms = self._calculator.attached(frame)
        found: Arrays = {"energy": np.array(float(atoms.get_potential_energy()))}
        further = {"forces": atoms.get_forces}
        if atoms.pbc.all():
            further["stress"] = atoms.get_stress
        for name, get in further.items():
            try:
                found[name] = np.array(get(apply_constraint=False), dtype=float)
            except PropertyNotImplementedError:
                continue
        for name, value in found.items():
            if not np.isfinite(value).all():
                raise ArithmeticError(f"{name} not finite")
        return found


def evaluate(
    path: Path,
    source: CalculatorSource,
    frames: Sequence[Frame],
    stage: str,
    device: str = "cpu",
    workers: int = 1,
    executor: str = PROCESSES,
) -> FoundLabels:
    """Labels of all structures; those that ``path`` holds are not computed again.

    Args:
        path: extended XYZ; the structures that failed stand beside it.
        source: the calculator.
        frames: the structures, each once.
        stage: name of the progress bar.
        device: torch device of MACE and NequIP models.
        workers: number of processes of this machine.
        executor: where structures are worked on, see :func:`..parallel.outcomes`.

    Raises:
        InputError: if the calculator cannot be loaded, or ``path`` is of another one.
        RunError: if it fails on every structure, or a process dies.
    """
    made_with = {"calculator": source.identity}
    run = Run(path, made_with, overwrite=False, read_out=_read)
    beside = _beside(path)
    failures = read_json(beside)["failures"] if path.is_file() else {}
    remaining = [frame for frame in frames if frame.key not in failures]
    n_missing = sum(run.finished(frame) is None for frame in remaining)
    function = LabelFunction(source, elements_of(frames), device)
    done = label(remaining, function, run, stage, source.called, workers, True, executor)
    failures |= {outcome.frame.key: outcome.failure for outcome in done.failed}
    labels = {f.key: a for f, a in zip(done.frames, done.arrays, strict=True)}
    if n_missing or not path.is_file():
        write_json(beside, {"run": made_with, "failures": failures})
        arrays = [{**labels[frame.key], "key": _PREFIX + frame.key} for frame in done.frames]
        write_frames(path, done.frames, arrays, _KEYS)
        # a later run reads what is written, to so many decimals; so does this one
        labels = _read(path)[1]
    run.end()
    wanted = {frame.key for frame in frames}
    return FoundLabels(labels, {key: why for key, why in failures.items() if key in wanted})


def is_of_evaluation(atoms: Atoms) -> bool:
    """Whether a frame is of a file of :func:`evaluate`, whose labels have the default names."""
    return str(atoms.info.get("key", "")).startswith(_PREFIX)


def method_of(path: Path) -> str | None:
    """The calculator of a file of :func:`evaluate`, as far as the file beside it says so."""
    made_with = _said_beside(path).get("run")
    return made_with.get("calculator") if isinstance(made_with, dict) else None


def failures_of(path: Path) -> dict[str, str]:
    """Why structures have no label in a file of :func:`evaluate`, by key; likewise."""
    failures = _said_beside(path).get("failures")
    return failures if isinstance(failures, dict) else {}


def _said_beside(path: Path) -> dict[str, Any]:
    beside = _beside(path)
    ours = beside.is_file() and is_of_evaluation(next(iterate_atoms(path)))
    return read_json(beside) if ours else {}


def _read(path: Path) -> tuple[str, dict[str, Arrays]]:
    """Settings and the labels of a file of :func:`evaluate`, by key."""
    from ase.io import iread

    finished: dict[str, Arrays] = {}
    for atoms in iread(path, index=":", do_not_split_by_at_sign=True):
        arrays: Arrays = {"energy": np.array(atoms.info[_KEYS.energy])}
        if _KEYS.forces in atoms.arrays:
            arrays["forces"] = atoms.arrays[_KEYS.forces]
        if _KEYS.stress in atoms.info:
            arrays["stress"] = np.asarray(atoms.info[_KEYS.stress])
        finished[atoms.info["key"].removeprefix(_PREFIX)] = arrays
    return json.dumps(read_json(_beside(path))["run"]), finished


def _beside(path: Path) -> Path:
    return path.with_suffix(".json")
