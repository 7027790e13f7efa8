"""Short molecular dynamics from test frames: energy, temperature, and whether molecules hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.data import covalent_radii
from ase.geometry import find_mic
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from ase.neighborlist import neighbor_list

from .....errors import RunError, reason_of
from .....frames.bonds import bonds
from ....dynamics import COLLAPSE_FACTOR, RUNAWAY_FACTOR, draw_velocities
from ....loaded_calculators import LoadedCalculator
from ...frame_set import FrameSet, spread
from . import DynamicsOptions

#: time between two records (fs)
RECORD_INTERVAL = 5.0


@dataclasses.dataclass(frozen=True)
class DynamicsRun:
    """One run: from ``frame`` of the data, at ``temperature`` (K), with a seed of its own."""

    ensemble: str
    temperature: float
    frame: int
    seed: int

    @property
    def name(self) -> str:
        """Name of the run's piece on disk."""
        return f"dynamics-{self.ensemble}-{self.temperature:g}K-frame{self.frame}-seed{self.seed}"


def runs(frames: FrameSet, options: DynamicsOptions, seed: int) -> Iterator[DynamicsRun]:
    """All runs of a report; ``seed`` is the lowest of their seeds."""
    for ensemble in options.ensembles:
        for temperature in options.temperatures:
            for frame in spread(frames.frames, options.md_starts):
                for number in range(options.md_seeds):
                    yield DynamicsRun(ensemble, temperature, frame, seed + number)


def simulate(
    model: LoadedCalculator,
    frames: FrameSet,
    run: DynamicsRun,
    options: DynamicsOptions,
    advance: Callable[[float], None],
) -> dict[str, Any]:
    """One run, until it ends or fails.

    Velocities are drawn from the Maxwell–Boltzmann distribution, without drift, and without
    rotation of molecules in vacuum.

    Args:
        model: the model.
        frames: the data.
        run: which run.
        options: ``md_length``, ``timestep``, ``friction`` and ``bond_factor`` are used.
        advance: called with the time simulated since the last call (ps).

    Returns:
        ``time`` (ps), ``energy`` (total, eV), ``kinetic_temperature`` (K) of the records;
        ``failure`` (in words, or None) and ``survived`` (ps); ``n_atoms``; and what the run was.
    """
    frame = frames.frames[run.frame]
    atoms = frame.atoms.copy()
    intact = _Intact(atoms, options.bond_factor, run.temperature)
    atoms.calc = model.calculator_for(atoms, frame.where)
    rng = np.random.default_rng(run.seed)
    draw_velocities(atoms, run.temperature, rng)
    dynamics = _integrator(atoms, run, options, rng)
    interval = max(1, round(RECORD_INTERVAL / options.timestep))
    n_records = max(1, round(options.md_length * 1000 / options.timestep / interval))
    step = interval * options.timestep / 1000
    records: dict[str, list[float]] = {"time": [], "energy": [], "kinetic_temperature": []}
    failure, survived = None, n_records * step
    for number in range(n_records + 1):
        try:
            if number:
                dynamics.run(interval)
            failure = intact.problem(atoms)
        except Exception as error:
            if number <= 1:
                raise RunError(
                    f"{model.source.called}: dynamics from {frame.where} fails at once "
                    f"({reason_of(error)})"
                ) from error
            failure = f"the model failed ({type(error).__name__})"
        if failure is not None:
            survived = number * step
            advance((n_records - number + 1) * step if number else n_records * step)
            break
        records["time"].append(number * step)
        records["energy"].append(float(atoms.get_total_energy()))
        records["kinetic_temperature"].append(float(atoms.get_temperature()))
        if number:
            advance(step)
    return {
        **dataclasses.asdict(run),
        "n_atoms": len(atoms),
        "length": n_records * step,
        "failure": failure,
        "survived": survived,
        **records,
    }


def _integrator(
    atoms: Atoms, run: DynamicsRun, options: DynamicsOptions, rng: np.random.Generator
) -> Any:
    timestep = options.timestep * units.fs
    if run.ensemble == "nve":
        return VelocityVerlet(atoms, timestep)
    friction = options.friction / units.fs
    return Langevin(
        atoms, timestep, temperature_K=run.temperature, friction=friction, rng=rng, fixcm=False
    )


class _Intact:
    """Whether the molecules of a run still hold."""

    def __init__(self, atoms: Atoms, bond_factor: float, temperature: float) -> None:
        """Take the start of a run.

        Args:
            atoms: its structure, whose bonds must hold.
            bond_factor: a bond is broken beyond this multiple of the sum of covalent radii; 0:
                bonds may break.
            temperature: of the run, in K.
        """
        first, second, _ = bonds(atoms)
        once = (first < second) if bond_factor > 0 else np.zeros(len(first), dtype=bool)
        self._first, self._second = first[once], second[once]
        radii = covalent_radii[atoms.numbers]
        self._limit = bond_factor * (radii[self._first] + radii[self._second])
        self._temperature = temperature

    def problem(self, atoms: Atoms) -> str | None:
        """What is wrong with the structure, in words, or None."""
        if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.get_potential_energy())):
            return "positions or energy are not finite"
        vectors = atoms.positions[self._second] - atoms.positions[self._first]
        if len(vectors):
            _, distances = find_mic(vectors, atoms.cell, atoms.pbc)
            excess = distances / self._limit
            worst = int(np.argmax(excess))
            if excess[worst] > 1:
                pair = [int(self._first[worst]), int(self._second[worst])]
                symbols = [atoms.symbols[index] for index in pair]
                what = "hydrogen detached" if "H" in symbols else "bond broken"
                names = "–".join(f"{s}{i}" for s, i in zip(symbols, pair, strict=True))
                return f"{what} ({names} at {distances[worst]:.2f} Å)"
        close = neighbor_list("i", atoms, COLLAPSE_FACTOR * covalent_radii[atoms.numbers])
        if len(close):
            return "atoms collapsed onto each other"
        found = atoms.get_temperature()
        if found > RUNAWAY_FACTOR * self._temperature:
            return f"temperature ran away ({found:.0f} K)"
        return None
