"""Labelling many structures: in this process, or in several."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING

import numpy as np

from .calculators import CalculatorSource, CalculatorSupply
from .differences import curvatures, hessian
from .errors import CurvatureError
from .frames import Structure
from .probes import draw_probes
from .settings import CurvatureSettings
from .storage import Finished

if TYPE_CHECKING:
    from ase import Atoms


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one structure: its curvature or why there is none, and the time (s)."""

    structure: Structure
    finished: Finished | None
    failure: str
    seconds: float


class Labeller:
    """A calculator, and what to do with it; lives in one process."""

    def __init__(
        self, source: CalculatorSource, elements: Sequence[int], settings: CurvatureSettings
    ) -> None:
        """Takes the arguments of :func:`label`; the calculator is loaded when first needed."""
        self._arguments = source, elements
        self._settings = settings
        self._supply: CalculatorSupply | None = None

    def __call__(self, structure: Structure, displacements: np.ndarray | None) -> Outcome:
        """Label one structure; a calculation that fails is part of the outcome.

        Raises:
            CurvatureError: if no structure can be labelled, as the calculator cannot be loaded or
                gives no forces.
        """
        from ase.calculators.calculator import PropertyNotImplementedError

        if self._supply is None:
            self._supply = CalculatorSupply(*self._arguments)
        start = time.perf_counter()
        finished, failure = None, ""
        try:
            finished = self._measure(structure.atoms, displacements)
        except PropertyNotImplementedError as error:
            remedy = (
                "; --max_hessian_atoms=0 makes probes, which need energies alone"
                if displacements is None
                else ""
            )
            raise CurvatureError(
                f"--calculator={self._arguments[0].text} does not give {error}{remedy}"
            ) from error
        except Exception as error:
            failure = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Outcome(structure, finished, failure, time.perf_counter() - start)

    def _measure(self, atoms: Atoms, displacements: np.ndarray | None) -> Finished:
        assert self._supply is not None
        attached = atoms.copy()
        attached.calc = self._supply.calculator_for(atoms)
        if displacements is None:
            matrix, asymmetry = hessian(attached, self._settings.step)
            return Finished(hessian=matrix, asymmetry=asymmetry)
        return Finished(displacements=displacements, curvatures=curvatures(attached, displacements))


def label(
    structures: Sequence[Structure],
    source: CalculatorSource,
    elements: Sequence[int],
    settings: CurvatureSettings,
    workers: int,
) -> Iterator[Outcome]:
    """Label structures, each as soon as it is done.

    Args:
        structures: what to label.
        source: the calculator.
        elements: atomic numbers of all structures.
        settings: how to measure.
        workers: number of processes; 1 is this one. The numbers do not depend on it.

    Raises:
        CurvatureError: if no structure can be labelled, or a process dies.
    """
    labeller = Labeller(source, elements, settings)
    tasks = ((structure, _probes(structure, settings)) for structure in structures)
    if workers == 1 or len(structures) == 1:
        for task in tasks:
            yield labeller(*task)
        return
    executor = concurrent.futures.ProcessPoolExecutor(
        min(workers, len(structures)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(labeller,),
    )
    try:
        futures = [executor.submit(_label_one, *task) for task in tasks]
        for future in concurrent.futures.as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise CurvatureError(
            "a worker process died (out of memory, or a crash inside the calculator); finished "
            "frames are kept, and the same command goes on; try fewer --workers"
        ) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _probes(structure: Structure, settings: CurvatureSettings) -> np.ndarray | None:
    if len(structure.atoms) <= settings.max_hessian_atoms:
        return None
    return draw_probes(structure.atoms, settings)


_labeller: Labeller | None = None


def _begin(labeller: Labeller) -> None:
    """Start of a worker process, which ends with its parent, however that ends."""
    global _labeller
    _labeller = labeller
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _label_one(structure: Structure, displacements: np.ndarray | None) -> Outcome:
    assert _labeller is not None
    return _labeller(structure, displacements)
