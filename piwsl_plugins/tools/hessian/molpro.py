"""The geometry, energy, charge and multiplicity of a Hessian of Molpro.

cclib 1.8.1 keeps the first geometry of an output, whatever the Hessian was made at.
"""

from __future__ import annotations

import dataclasses
import re

import numpy as np
from ase import units

from .frequency_jobs import FrequencyJob
from .rigid_motions import rotation_between

_HESSIAN = "Force Constants (Second Derivatives of the Energy)"
_TABLE = re.compile(r"^ *Atomic Coordinates *\n\s*Nr +Atom[^\n]*\n\s*\n(.*?)\n *\n", re.M | re.S)
_CURRENT = re.compile(
    r"Current geometry \(xyz format, in Angstrom\)\s*\d+\n *\S+ +ENERGY= *(-?\d+\.\d+)\n"
    r"(.*?)\n *\n",
    re.S,
)


def placed(job: FrequencyJob, text: str) -> FrequencyJob:
    """The job at the geometry that Molpro prints with the normal modes of its Hessian.

    Args:
        job: as cclib reads it.
        text: of the output.

    Raises:
        ValueError: where that is not printed and the output may hold several geometries.
    """
    tables = _TABLE.findall(text.split(_HESSIAN, 1)[-1])
    at = [np.array([row.split()[-3:] for row in table.splitlines()], float) for table in tables]
    at = [positions * units.Bohr for positions in at if len(positions) == len(job.numbers)]
    first = job.geometries[-1]
    optimised = [
        (float(energy), np.array([row.split()[-3:] for row in rows.splitlines()], float))
        for energy, rows in _CURRENT.findall(text)
    ]
    if not at:
        if optimised and rotation_between(first, optimised[-1][1]) is None:
            raise ValueError(
                "the first geometry and the optimised one differ, and nothing tells at which of "
                "them the Hessian was made"
            )
        at = [first]
    for positions in at[1:]:
        if rotation_between(positions, at[0]) is None:
            raise ValueError("it holds Hessians of several geometries")
    energy = job.energy if rotation_between(first, at[0]) is not None else None
    if energy is None:
        energies = {
            value * units.Hartree
            for value, positions in optimised
            if rotation_between(positions, at[0]) is not None
        }
        energy = energies.pop() if len(energies) == 1 else None
    charge, multiplicity = _state(text)
    return dataclasses.replace(
        job, geometries=at[0][None], energy=energy, charge=charge, multiplicity=multiplicity
    )


def _state(text: str) -> tuple[int | None, int | None]:
    """Charge and multiplicity by the electrons outside of effective core potentials."""
    nuclear = set(re.findall(r"NUCLEAR CHARGE: +(\d+)", text))
    electrons = set(re.findall(r"NUMBER OF ELECTRONS: +(\d+)\+ +(\d+)-", text))
    if len(nuclear) != 1 or len(electrons) != 1:
        return None, None
    ((up, down),) = electrons
    return int(nuclear.pop()) - int(up) - int(down), int(up) - int(down) + 1
