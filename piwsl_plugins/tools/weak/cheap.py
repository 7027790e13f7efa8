"""Labels of the cheap method: from a calculator, or found by geometry in files."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

from ...errors import InputError
from ...frames.identity import StructureIndex
from ...frames.reading import Frame, Keys, elements_of, iterate_atoms, read_frames
from ..calculators import CalculatorSource
from ..label_names import candidates
from ..loaded_calculators import load, prepare
from ..runs import Arrays
from .evaluation import FoundLabels, evaluate, failures_of, is_of_evaluation, method_of
from .frame_labels import carried
from .inputs import Inputs, forces_unread
from .stages import Stages

#: energies (eV) of one geometry and method differ by less
_SAME = 1e-4


def cheap_labels(
    options: argparse.Namespace, inputs: Inputs, stages: Stages, keys: Keys
) -> FoundLabels:
    """Labels of the cheap method for the frames of both files.

    Args:
        options: the calculator, or files of labels.
        inputs: the frames.
        stages: where the labels of a calculator are kept.
        keys: names of the labels in files.

    Returns:
        labels, and why there are none.

    Raises:
        InputError: for labels that cannot be used; training frames that files do not hold.
        RunError: if the calculator fails on every frame.
    """
    frames = [*inputs.training, *inputs.pool]
    if options.cheap_labels:
        index, labels, notes = _read(options.cheap_labels, keys)
        numbers = {frame.key: index.find(frame.structure) for frame in frames}
        found = {key: labels[number] for key, number in numbers.items() if number is not None}
        reason = "not among the cheap labels"
        failures = {frame.key: reason for frame in frames if frame.key not in found}
        known = {
            key: why for path in options.cheap_labels for key, why in failures_of(path).items()
        }
        failures |= {key: why for key, why in known.items() if key in failures}
        _require_training(inputs.training, {**known, **found}, options.cheap_labels)
        stages.enter("cheap", {"cheap_labels": _digest(options.cheap_labels)})
        return FoundLabels(found, failures, notes)
    source = CalculatorSource.parse(options.calculator, options.head, charges=options.charges)
    prepare(source, frames, options.device)
    stages.enter("cheap", {"calculator": source.identity})
    if stages.overwrite:
        load(source, elements_of(frames), options.device)  # or nothing is thrown away
    stages.clear()
    where = options.device, options.workers, options.executor
    evaluated = evaluate(stages.cheap_file, source, frames, "cheap labels", *where)
    stages.keep()
    return evaluated


def is_learned(calculator: str | None) -> bool:
    """Whether the cheap method is a model of MACE or NequIP."""
    if calculator is None:
        return False
    return CalculatorSource.parse(calculator).kind not in ("xtb", "factory")


def _read(paths: Sequence[Path], keys: Keys) -> tuple[StructureIndex, list[Arrays], list[str]]:
    """The frames that have an energy, each structure once, their labels, and lines on them.

    Of a structure that is there twice, all labels are taken that one of the two has.

    Raises:
        InputError: for one geometry with two energies, and files of several calculators.
    """
    _require_one_method(paths)
    index = StructureIndex()
    frames: list[Frame] = []
    labels: list[Arrays] = []
    notes: list[str] = []
    for path in paths:
        names = _names_in(path, keys)
        read = [frame for frame in read_frames(path, keys=names) if frame.energy is not None]
        notes += forces_unread(read, path, names.forces)
        for frame in read:
            number, new = index.find_or_add(frame.structure)
            if new:
                frames.append(frame)
                labels.append(carried(frame))
            twin = frames[number]
            assert twin.energy is not None and frame.energy is not None
            if abs(twin.energy - frame.energy) > _SAME:
                raise InputError(
                    f"{frame.where}: the geometry of {twin.where} with another energy; cheap "
                    "labels are found by geometry, so that one of the two has to go"
                )
            labels[number] = {**carried(frame), **labels[number]}
    if not frames:
        words = " and ".join(map(str, paths))
        held = candidates(next(iterate_atoms(paths[0])), "energy")
        raise InputError(
            f"{words}: no frame has an energy under '{keys.energy}' (--energy_key)"
            + (f", but there is '{held[0]}'" if held else "")
            + "; training frames and cheap labels have one name of it: rename one of the two"
        )
    return index, labels, notes


def _require_one_method(paths: Sequence[Path]) -> None:
    """Refuse files of the first stage that are of several calculators.

    Raises:
        InputError: naming two files and their calculators.
    """
    known = [(path, method) for path in paths if (method := method_of(path)) is not None]
    for path, method in known[1:]:
        if method != known[0][1]:
            raise InputError(
                f"--cheap_labels: those of {known[0][0]} are of {known[0][1]}, those of {path} of "
                f"{method}; the correction is that of one cheap method"
            )


def _names_in(path: Path, keys: Keys) -> Keys:
    """Names of the labels in a file: those that the user gave, unless this package wrote it.

    Labels of the first stage, and of ``piwsl pool --labels``, have the default names.
    """
    first = next(iterate_atoms(path))
    of_pool = "pool_time" in first.info and keys.energy not in first.info
    if not (is_of_evaluation(first) or of_pool):
        return keys
    return Keys(charge=keys.charge, spin=keys.spin)


def _require_training(
    training: Sequence[Frame], known: Collection[str], paths: Sequence[Path]
) -> None:
    """Refuse training frames of which nothing is known, neither a label nor why there is none."""
    without = [frame for frame in training if frame.key not in known]
    if without:
        raise InputError(
            f"{without[0].where}: --cheap_labels={' '.join(map(str, paths))} holds no energy of "
            f"this geometry ({len(without)} of {len(training)} training frames have none); the "
            "correction needs both labels of a frame"
        )


def _digest(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
