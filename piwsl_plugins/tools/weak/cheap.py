"""Labels of the cheap method: from a calculator, or found by geometry in files."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

from ...errors import InputError
from ...frames.identity import StructureIndex
from ...frames.reading import Frame, Keys, elements_of, iterate_atoms, read_frames
from ..calculators import CalculatorSource
from ..label_names import candidates
from ..loaded_calculators import load, prepare
from ..runs import Arrays
from .evaluation import FoundLabels, evaluate
from .frame_labels import carried
from .inputs import Inputs
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
        index, labels = _read(options.cheap_labels, keys)
        numbers = {frame.key: index.find(frame.structure) for frame in frames}
        found = {key: labels[number] for key, number in numbers.items() if number is not None}
        _require_training(inputs.training, found, options.cheap_labels)
        stages.enter("cheap", {"cheap_labels": _digest(options.cheap_labels)})
        reason = "not among the cheap labels"
        return FoundLabels(found, {f.key: reason for f in frames if f.key not in found})
    source = CalculatorSource.parse(options.calculator, options.head, charges=options.charges)
    prepare(source, frames, options.device)
    stages.enter("cheap", {"calculator": source.identity})
    if stages.overwrite:
        load(source, elements_of(frames), options.device)  # or nothing is thrown away
    stages.clear()
    where = options.device, options.workers, options.executor
    evaluated = evaluate(stages.cheap_file, source, frames, "cheap labels", *where, keys)
    stages.keep()
    return evaluated


def is_learned(calculator: str | None) -> bool:
    """Whether the cheap method is a model of MACE or NequIP."""
    if calculator is None:
        return False
    return CalculatorSource.parse(calculator).kind not in ("xtb", "factory")


def _read(paths: Sequence[Path], keys: Keys) -> tuple[StructureIndex, list[Arrays]]:
    """The frames that have an energy, each structure once, and their labels.

    Raises:
        InputError: for one geometry with two energies.
    """
    index = StructureIndex()
    frames: list[Frame] = []
    for frame in (frame for path in paths for frame in read_frames(path, keys=keys)):
        if frame.energy is None:
            continue
        number, new = index.find_or_add(frame.structure)
        if new:
            frames.append(frame)
        twin = frames[number]
        assert twin.energy is not None
        if abs(twin.energy - frame.energy) > _SAME:
            raise InputError(
                f"{frame.where}: the geometry of {twin.where} with another energy; cheap labels "
                "are found by geometry, so that one of the two has to go"
            )
    if not frames:
        words = " and ".join(map(str, paths))
        held = candidates(next(iterate_atoms(paths[0])), "energy")
        raise InputError(
            f"{words}: no frame has an energy under '{keys.energy}' (--energy_key)"
            + (f", but there is '{held[0]}'" if held else "")
            + "; training frames and cheap labels have one name of it: rename one of the two"
        )
    return index, [carried(frame) for frame in frames]


def _require_training(
    training: Sequence[Frame], found: dict[str, Arrays], paths: Sequence[Path]
) -> None:
    without = [frame for frame in training if frame.key not in found]
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
