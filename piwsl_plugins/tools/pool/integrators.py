"""The dynamics of ASE that a trajectory runs with, and its beginning."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin

from ..errors import InputError
from .settings import PoolSettings

#: of a relaxation: largest force left (eV/Å), and steps
_RELAXED, _RELAXATION_STEPS = 0.1, 100
#: the barostat's period, in multiples of the thermostat's
_BAROSTAT_PERIODS = 10.0


def relax(atoms: Atoms) -> None:
    """Follow the forces downhill for some steps, in the cell as it is."""
    from ase.optimize import LBFGS

    LBFGS(atoms, logfile=None).run(fmax=_RELAXED, steps=_RELAXATION_STEPS)


def draw_momenta(atoms: Atoms, temperature: float, rng: np.random.Generator) -> None:
    """Momenta of the Maxwell–Boltzmann distribution at ``temperature`` (K)."""
    width = np.sqrt(atoms.get_masses() * units.kB * temperature)
    atoms.set_momenta(width[:, None] * rng.standard_normal((len(atoms), 3)))


def integrator(
    atoms: Atoms, temperature: float, settings: PoolSettings, rng: np.random.Generator
) -> Any:
    """Langevin dynamics; with a pressure, of the volume too.

    Of ASE's barostats this takes Langevin–Hoover with isotropic moves (``LangevinBAOAB``): it
    samples the ensemble, also of few atoms, and is repeatable with a seed.

    Args:
        atoms: with momenta and calculator; with a pressure, a cell periodic in three directions.
        temperature: in K.
        settings: ``timestep``, ``friction`` and ``pressure`` are used.
        rng: of the thermostat.

    Raises:
        InputError: for a pressure with a version of ASE that has no such barostat.
    """
    timestep, friction = settings.timestep * units.fs, settings.friction / units.fs
    if settings.pressure is None:
        return Langevin(
            atoms, timestep, temperature_K=temperature, friction=friction, rng=rng, fixcm=False
        )
    try:
        from ase.md.langevinbaoab import LangevinBAOAB
    except ModuleNotFoundError as error:
        raise InputError(
            '--pressure needs a newer ASE, with Langevin–Hoover dynamics: pip install "ase>=3.27"'
        ) from error
    with warnings.catch_warnings():
        # it says which mass the barostat gets
        warnings.simplefilter("ignore")
        return LangevinBAOAB(
            atoms,
            timestep,
            temperature_K=temperature,
            externalstress=-settings.pressure * units.GPa,
            hydrostatic=True,
            T_tau=1 / friction,
            P_tau=_BAROSTAT_PERIODS / friction,
            rng=rng,
        )
