"""Energies of the given frames by the calculator, beside those of the pool."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from ...frames.reading import Frame, elements_of
from ...progress import stage
from ..calculators import CalculatorSource
from ..loaded_calculators import LazyCalculator
from ..parallel import outcomes
from ..workers import PROCESSES
from .bond_coverage import evenly
from .collection import Snapshot

#: so many given frames, evenly spaced, speak for all
_EVALUATED = 200


class _Energy:
    """A function of frames: the energy (eV)."""

    def __init__(self, source: CalculatorSource, elements: Sequence[int], device: str) -> None:
        self._calculator = LazyCalculator(source, elements, device)

    def __call__(self, frame: Frame) -> float:
        return float(self._calculator.attached(frame).get_potential_energy())


def relative_energies(
    source: CalculatorSource,
    given: Sequence[Frame],
    pool: Sequence[Snapshot],
    device: str = "cpu",
    workers: int = 1,
    executor: str = PROCESSES,
) -> tuple[np.ndarray, np.ndarray]:
    """Energies relative to the mean of the given frames of the same formula, per atom.

    Args:
        source: the calculator.
        given: the given frames; those on which the calculator fails are passed over.
        pool: the pool.
        device: torch device of MACE and NequIP models.
        workers: number of processes of this machine.
        executor: where frames are worked on, see :func:`..parallel.outcomes`.

    Returns:
        of given frames and of the pool, in meV/atom; NaN for formulas without given frames.
    """
    frames = evenly(given, _EVALUATED)
    function = _Energy(source, elements_of(frames), device)
    energies: dict[str, float] = {}
    with stage("given frames", len(frames)) as advance:
        for outcome in outcomes(function, frames, workers, executor):
            if not outcome.failure and np.isfinite(outcome.result):
                energies[outcome.frame.key] = outcome.result
            advance(1)
    by_formula: dict[str, list[float]] = {}
    for frame in frames:
        if frame.key in energies:
            formula = frame.atoms.get_chemical_formula()
            by_formula.setdefault(formula, []).append(energies[frame.key])
    centres = {formula: float(np.mean(values)) for formula, values in by_formula.items()}

    def relative(energy: float, atoms: Atoms) -> float:
        centre = centres.get(atoms.get_chemical_formula(), np.nan)
        return 1000 * (energy - centre) / len(atoms)

    return (
        np.array([relative(energies[f.key], f.atoms) for f in frames if f.key in energies]),
        np.array([relative(structure.energy, structure.atoms) for structure in pool]),
    )
