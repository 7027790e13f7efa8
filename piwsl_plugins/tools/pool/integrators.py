"""The dynamics of ASE that a trajectory runs with, and its beginning."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin

from ...errors import InputError
from .settings import PoolSettings

#: of a relaxation: largest force left (eV/Å), and steps
_RELAXED, _RELAXATION_STEPS = 0.1, 100
#: time constant of the barostat (fs); with 1000, the volume of 32 copper atoms swings by 2 % for
#: more than 2 ps, with 300 it settles within 0.6 ps
_BAROSTAT_TIME = 300.0


def relax(atoms: Atoms) -> None:
    """Follow the forces downhill for some steps, in the cell as it is."""
    from ase.optimize import LBFGS

    silent: Any = None  # ASE knows it, but for its annotation
    LBFGS(atoms, logfile=silent).run(fmax=_RELAXED, steps=_RELAXATION_STEPS)


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
            P_tau=_BAROSTAT_TIME * units.fs,
            rng=rng,
        )
