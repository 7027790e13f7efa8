"""The runs of a pool, and the dynamics of each."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms, units

from ..calculators import CalculatorSource
from ..dynamics import Soundness, draw_velocities
from ..errors import reason_of
from ..labelling import Arrays
from ..loading import LoadedCalculator, load
from ..structures import Frame
from .settings import PoolSettings

#: a cell may change its volume by this factor
_VOLUME = 2.0


@dataclasses.dataclass(frozen=True)
class Trajectory(Frame):
    """A run: the frame that it starts from, and how.

    Attributes:
        start: number of the frame among those given.
        temperature: in K.
        n: number of structures to keep.
        seed: of its random numbers.
    """

    start: int = 0
    temperature: float = 0.0
    n: int = 0
    seed: tuple[int, ...] = ()

    @property
    def key(self) -> str:  # type: ignore[override]
        """Identifies the run."""
        own = f"{self.start} {self.temperature} {self.n} {self.seed}".encode()
        return hashlib.sha256(super().key.encode() + own).hexdigest()[:32]


def plan(frames: Sequence[Frame], settings: PoolSettings) -> list[Trajectory]:
    """The runs: every frame at every temperature, in turn, as many as there are structures.

    Each keeps as many structures as another, or one more.
    """
    pairs = [(i, t) for t in settings.temperatures for i in range(len(frames))][: settings.n]
    whole, more = divmod(settings.n, len(pairs))
    return [
        Trajectory(
            **{field.name: getattr(frames[i], field.name) for field in dataclasses.fields(Frame)},
            start=i,
            temperature=temperature,
            n=whole + (number < more),
            seed=(settings.seed, number),
        )
        for number, (i, temperature) in enumerate(pairs)
    ]


class Dynamics:
    """A function of trajectories for :func:`piwsl_plugins.tools.labelling.label`."""

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
            elements: atomic numbers that occur.
            settings: of the dynamics.
            device: torch device of MACE and NequIP models.
        """
        self._arguments, self._settings = (source, elements, device), settings
        self._calculator: LoadedCalculator | None = None

    def __call__(self, run: Trajectory) -> Arrays:
        """Run until its end, or until it is no longer sound.

        Returns:
            ``positions`` ``(n, n_atoms, 3)`` and ``cells`` ``(n, 3, 3)`` in Å, ``energies``
            ``(n,)`` in eV and ``times`` ``(n,)`` in fs of the structures; ``start_energy`` in eV;
            ``failure`` in words, empty if there was none.

        Raises:
            Exception: of the calculator, if it fails on the start.
        """
        if self._calculator is None:
            self._calculator = load(*self._arguments)
        settings = self._settings
        atoms = run.atoms.copy()
        atoms.calc = self._calculator.calculator_for(atoms)
        start_energy = float(atoms.get_potential_energy())
        rng = np.random.default_rng(run.seed)
        draw_velocities(atoms, run.temperature, rng)
        integrator = _integrator(atoms, run.temperature, settings, rng)
        sound = Soundness(atoms, settings.bond_factor, run.temperature)
        volume = atoms.get_volume() if atoms.pbc.all() else None
        steps = max(1, round(settings.spacing / settings.timestep))
        waiting = max(0, round(settings.equilibration / settings.timestep) - steps)
        kept: dict[str, list[Any]] = {name: [] for name in ("positions", "cells", "energies")}
        times, failure = [], ""
        # the time before the first structure, checked as often as the structures are
        blocks = [steps] * (waiting // steps) + [waiting % steps] * (waiting % steps > 0)
        for number, block in enumerate([*blocks, *[steps] * run.n]):
            try:
                integrator.run(block)
                failure = sound.problem(atoms) or _volume_problem(atoms, volume) or ""
            except Exception as error:
                failure = f"the calculator failed ({reason_of(error)})"
            if failure:
                break
            if number >= len(blocks):
                kept["positions"].append(atoms.positions.copy())
                kept["cells"].append(atoms.cell.array.copy())
                kept["energies"].append(float(atoms.get_potential_energy()))
                times.append(float(integrator.nsteps * settings.timestep))
        shapes = {"positions": (-1, len(atoms), 3), "cells": (-1, 3, 3), "energies": (-1,)}
        arrays = {name: np.array(kept[name]).reshape(shape) for name, shape in shapes.items()}
        return {
            **arrays,
            "times": np.array(times),
            "start_energy": np.array(start_energy),
            "failure": np.array(failure),
        }


def _integrator(
    atoms: Atoms, temperature: float, settings: PoolSettings, rng: np.random.Generator
) -> Any:
    timestep = settings.timestep * units.fs
    if settings.pressure is None:
        from ase.md.langevin import Langevin

        friction = settings.friction / units.fs
        return Langevin(
            atoms, timestep, temperature_K=temperature, friction=friction, rng=rng, fixcm=False
        )
    from ase.md.langevinbaoab import LangevinBAOAB

    return LangevinBAOAB(
        atoms,
        timestep,
        temperature_K=temperature,
        externalstress=-settings.pressure * units.GPa,
        hydrostatic=True,
        T_tau=units.fs / settings.friction,
        rng=rng,
    )


def _volume_problem(atoms: Atoms, start: float | None) -> str | None:
    if start is None:
        return None
    ratio = atoms.get_volume() / start
    if 1 / _VOLUME < ratio < _VOLUME:
        return None
    return f"the volume became {ratio:.2g} times that of the start"
