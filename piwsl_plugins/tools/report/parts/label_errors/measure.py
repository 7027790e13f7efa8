"""A model on the labelled frames: predictions, one by one, with the time they take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .....frames.reading import elements_of
from ....loaded_calculators import LoadedCalculator
from ....units import require_one_dipole_unit, require_one_unit
from ...frame_set import FrameSet


def predictions(
    model: LoadedCalculator, frames: FrameSet, advance: Callable[[], None]
) -> dict[str, Any]:
    """Energies (eV), forces (eV/Å) and, where a frame has them, stresses (eV/Å³), dipoles (e·Å).

    Args:
        model: the model.
        frames: the labelled frames.
        advance: called after every frame.

    Returns:
        ``{"energy": [...], "forces": [...], "stress": [...], "dipole": [...], "seconds": [...]}``,
        one entry per frame; a stress or dipole is None where there is no label or the model gives
        none.

    Raises:
        InputError: for labels and answers in different units.
        RunError: for a model that fails.
    """
    names = ("energy", "forces", "stress", "dipole", "seconds")
    found: dict[str, list[Any]] = {name: [] for name in names}
    for frame in frames.frames:
        start = time.perf_counter()
        wanted = {"stress": frame.stress is not None, "dipole": frame.dipole is not None}
        evaluation = model.evaluate(frame.atoms, frame.where, **wanted)
        found["seconds"].append(time.perf_counter() - start)
        found["energy"].append(evaluation.energy)
        found["forces"].append(evaluation.forces)
        found["stress"].append(evaluation.stress)
        found["dipole"].append(evaluation.dipole)
        advance()
    answers = {
        frame.key: {
            name: found[name][number]
            for name in ("energy", "forces", "stress")
            if found[name][number] is not None
        }
        for number, frame in enumerate(frames.frames)
    }
    called = model.source.called
    compared = ("labelled frames", f"answers of {called}")
    require_one_unit(frames.frames, answers, elements_of(frames.frames), called, compared)
    require_one_dipole_unit([f.dipole for f in frames.frames], found["dipole"], called)
    return found
