"""One trajectory, until it has its structures or is cut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

from ..calculators import CalculatorSource
from ..errors import ToolError, reason_of
from ..labelling import Arrays
from ..loading import LoadedCalculator, load
from .integrators import draw_momenta, integrator, relax
from .runs import Run
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
        """Take what is needed; the calculator is loaded when first needed, in each process.

        Args:
            source: the calculator.
            elements: atomic numbers of all frames.
            settings: how the dynamics run.
            device: torch device of MACE and NequIP models.
        """
        self._arguments = source, elements, device
        self._settings = settings
        self._calculator: LoadedCalculator | None = None

    def __call__(self, run: Run) -> Arrays:
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
        if self._calculator is None:
            self._calculator = load(*self._arguments)
        settings = self._settings
        atoms = run.atoms.copy()
        atoms.calc = self._calculator.calculator_for(atoms)
        atoms.get_forces()
        if settings.relax:
            relax(atoms)
        rng = np.random.default_rng([settings.seed, run.number])
        draw_momenta(atoms, run.temperature, rng)
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
        return {**_stacked(records), "end": np.array(end)}

    @staticmethod
    def _run(atoms: Atoms, dynamics, n_steps: int, sound: Soundness) -> str: ...


def _record(atoms: Atoms) -> Arrays: ...
