"""One trajectory, until it has its structures or is cut."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

from ...errors import PIWSLError
from ...frames.reading import Frame
from ..calculators import CalculatorSource
from ..dynamics import draw_velocities
from ..loaded_calculators import LazyCalculator
from ..runs import Arrays
from .integrators import integrator, relax
from .plan import Trajectory
from .settings import PoolSettings
from .soundness import Soundness

#: time between two looks at a trajectory (fs)
CHECK_INTERVAL = 10.0


class Simulation:
    """A function of runs for :func:`piwsl_plugins.tools.parallel.outcomes`."""

    def __init__(
        self,
        source: CalculatorSource,
        elements: Sequence[int],
        settings: PoolSettings,
        device: str = "cpu",
    ) -> None:
        """
        Args:
            source: the calculator.
            elements: atomic numbers of all frames.
            settings: how the dynamics run.
            device: torch device of MACE and NequIP models.
        """
        self._calculator = LazyCalculator(source, elements, device)
        self._settings = settings

    def __call__(self, run: Frame) -> Arrays:
        """Run it.

        Returns:
            of the structures, in the order of time: ``positions`` ``(n, n_atoms, 3)`` in Å,
            ``cells`` ``(n, 3, 3)`` in Å, ``times`` since the start in fs, ``energies`` in eV,
            ``forces`` in eV/Å, ``kinetic_temperatures`` in K, and ``stresses`` ``(n, 6)`` in eV/Å³
            of cells whose calculator has them; ``end``, why it was cut, or "".

        Raises:
            InputError: if the calculator cannot be loaded.
            Exception: of a calculator that fails on the frame itself.
        """
        assert isinstance(run, Trajectory)
        settings = self._settings
        atoms = self._calculator.attached(run)
        atoms.get_forces()
        if settings.relax:
            relax(atoms)
        rng = np.random.default_rng([settings.seed, run.number])
        draw_velocities(atoms, run.temperature, rng)
        sound = Soundness(atoms, run.temperature, settings.allow_reactions)
        dynamics = integrator(atoms, run.temperature, settings, rng)
        records: list[Arrays] = []
        end = sound.problem(atoms) or self._run(atoms, dynamics, settings.steps_before, sound)
        time = settings.steps_before * settings.timestep
        while not end and len(records) < run.n_frames:
            end = self._run(atoms, dynamics, settings.steps_apart, sound)
            time += settings.steps_apart * settings.timestep
            if not end:
                records.append({**_record(atoms), "times": np.array(time)})
        names = records[0] if records else ()
        return {
            "end": np.array(end),
            **{name: np.stack([record[name] for record in records]) for name in names},
        }

    def _run(self, atoms: Atoms, dynamics: Any, n_steps: int, sound: Soundness) -> str:
        """Go on by some steps, as long as all is well; gives the reason if it is not."""
        interval = max(1, round(CHECK_INTERVAL / self._settings.timestep))
        for done in range(0, n_steps, interval):
            try:
                dynamics.run(min(interval, n_steps - done))
                problem = sound.problem(atoms)
            except PIWSLError:
                raise
            except Exception as error:
                return f"the calculator failed ({type(error).__name__})"
            if problem:
                return problem
        return ""


def _record(atoms: Atoms) -> Arrays:
    """What is kept of one structure."""
    record = {
        "positions": atoms.positions.copy(),
        "cells": atoms.cell.array.copy(),
        "energies": np.array(float(atoms.get_potential_energy())),
        "forces": np.array(atoms.get_forces(), dtype=float),
        "kinetic_temperatures": np.array(atoms.get_temperature()),
    }
    if atoms.pbc.all():
        with contextlib.suppress(PropertyNotImplementedError):
            record["stresses"] = np.array(atoms.get_stress(), dtype=float)
    return record
