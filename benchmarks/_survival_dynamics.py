"""NVE dynamics of many replicas of a molecule or cell, with a MACE model, until they fail."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import ase
import numpy as np
import torch
from ase import units
from ase.data import covalent_radii

from piwsl_plugins.frames.bonds import bonds
from piwsl_plugins.tools.dynamics import COLLAPSE_FACTOR, RUNAWAY_FACTOR, draw_velocities

#: steps between two looks at the replicas
CHECKED_EVERY = 10


@dataclasses.dataclass(frozen=True)
class Dynamics:
    """Settings of the runs.

    Attributes:
        temperature: of the velocities at the start, in K.
        length: in ps.
        timestep: in fs.
        bond_factor: a bond is broken beyond this multiple of the sum of covalent radii.
    """

    temperature: float
    length: float
    timestep: float = 0.5
    bond_factor: float = 1.5


class Replicas:
    """The energies and forces of ``n`` replicas of one structure, without a neighbour list.

    Attributes:
        pairs: ordered pairs of atoms and images that may become neighbours, ``(2, n_pairs)``.
    """

    def __init__(self, model: Any, structure: ase.Atoms) -> None:
        """Prepare a model in single precision; ``structure`` gives elements and cell."""
        self._model = model.to(torch.float32).eval()
        for parameter in self._model.parameters():
            parameter.requires_grad_(False)
        known = [int(z) for z in model.atomic_numbers]
        index = torch.tensor([known.index(z) for z in structure.numbers])
        self._attributes = torch.nn.functional.one_hot(index, len(known)).to(torch.float32)
        n = self._n_atoms = len(structure)
        self._cutoff = float(model.r_max)
        self._periodic = torch.as_tensor(structure.pbc)
        self._cell = torch.as_tensor(structure.cell.complete().array)
        self._inverse = torch.linalg.inv(self._cell)
        # of atoms inside the cell: those of one row of the inverse are 1 / height apart
        reach = torch.ceil(self._cutoff * self._inverse.norm(dim=0)).long() * self._periodic
        images = [
            torch.tensor(image, dtype=torch.float64)
            for image in itertools.product(*(range(-m, m + 1) for m in reach.tolist()))
        ]
        away = ~torch.eye(n, dtype=torch.bool)
        found = [torch.nonzero(away if not image.any() else away | True).T for image in images]
        self.pairs = torch.cat(found, dim=1)
        counts = torch.tensor([pairs.shape[1] for pairs in found])
        self._images = torch.stack(images).repeat_interleave(counts, dim=0)
        self._shifts = self._images @ self._cell

    def _inside(self, positions: torch.Tensor) -> torch.Tensor:
        cells = torch.floor(positions @ self._inverse) * self._periodic
        return positions - cells @ self._cell

    def distances(self, positions: torch.Tensor) -> torch.Tensor:
        """Distances of the pairs in Å, ``(n, n_pairs)``; ``positions`` are ``(n, n_atoms, 3)``."""
        x = self._inside(positions)
        first, second = self.pairs
        return (x[:, second] + self._shifts - x[:, first]).norm(dim=-1)

    def __call__(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Energies ``(n,)`` in eV and forces like ``positions``, ``(n, n_atoms, 3)`` in Å."""
        n, n_atoms = positions.shape[:2]
        replica, pair = torch.nonzero(self.distances(positions) < self._cutoff, as_tuple=True)
        single = torch.float32
        batch = {
            "positions": self._inside(positions).reshape(-1, 3).to(single),
            "node_attrs": self._attributes.repeat(n, 1),
            "edge_index": self.pairs[:, pair] + n_atoms * replica,
            "shifts": self._shifts[pair].to(single),
            "unit_shifts": self._images[pair].to(single),
            "cell": (self._cell * self._periodic[:, None]).repeat(n, 1).to(single),
            "batch": torch.arange(n).repeat_interleave(n_atoms),
            "ptr": torch.arange(n + 1) * n_atoms,
            "head": torch.zeros(n, dtype=torch.long),
        }
        found = self._model(batch, compute_force=True)
        return found["energy"].detach().double(), found["forces"].view_as(positions).double()


@dataclasses.dataclass(frozen=True)
class Survival:
    """What became of the replicas.

    Attributes:
        times: in ps, the length of the dynamics for those that hold.
        change: of the total energy over the run in eV; NaN of those that failed.
        last: the structures at the end of those that hold.
    """

    times: np.ndarray
    change: np.ndarray
    last: list[ase.Atoms]


def survival(model: Any, starts: list[ase.Atoms], settings: Dynamics, seed: int) -> Survival:
    """How long each replica holds.

    The criteria are those of ``piwsl report``: a bond of the start beyond its limit (in molecules),
    atoms that collapsed, a temperature that ran away, numbers that are not finite.

    Args:
        model: a MACE model; it is changed to single precision.
        starts: frames of one molecule or of one cell, one per replica.
        settings: of the dynamics.
        seed: draws the velocities.
    """
    torch.set_default_dtype(torch.float32)
    molecule, random = starts[0], np.random.default_rng([seed, 300])
    evaluate = Replicas(model, molecule)
    near, far = evaluate.pairs
    radii = torch.as_tensor(covalent_radii[molecule.numbers])
    bonded = torch.zeros(len(molecule), len(molecule), dtype=torch.bool)
    if not molecule.pbc.any():
        first, second, _ = bonds(molecule)
        bonded[first, second] = True
    upper = torch.where(bonded[near, far], settings.bond_factor, torch.inf)
    upper = upper * (radii[near] + radii[far])
    lower = COLLAPSE_FACTOR * (radii[near] + radii[far])
    hottest = RUNAWAY_FACTOR * settings.temperature * 1.5 * len(molecule) * units.kB

    momenta = []
    for atoms in starts:
        copy = atoms.copy()
        draw_velocities(copy, settings.temperature, random)
        momenta.append(copy.get_momenta())
    x = torch.tensor(np.array([atoms.positions for atoms in starts]))
    p = torch.tensor(np.array(momenta))
    mass = torch.as_tensor(molecule.get_masses())[:, None]
    step = settings.timestep * units.fs

    energy, force = evaluate(x)
    start = energy + (p**2 / (2 * mass)).sum((1, 2))
    alive = torch.arange(len(starts))
    times = np.full(len(starts), settings.length)
    change = np.full(len(starts), np.nan)
    n_steps = round(1000 * settings.length / settings.timestep)
    for number in range(1, n_steps + 1):
        p = p + 0.5 * step * force
        x = x + step * p / mass
        energy, force = evaluate(x)
        p = p + 0.5 * step * force
        if number % CHECKED_EVERY and number != n_steps:
            continue
        distance = evaluate.distances(x)
        kinetic = (p**2 / (2 * mass)).sum((1, 2))
        holds = ((distance < upper) & (distance > lower)).all(-1)
        holds &= (kinetic < hottest) & torch.isfinite(energy)
        times[alive[~holds].numpy()] = number * settings.timestep / 1000
        alive, x, p, force, energy, kinetic, start = (
            part[holds] for part in (alive, x, p, force, energy, kinetic, start)
        )
        if not len(alive):
            break
    if len(alive):
        change[alive.numpy()] = (energy + kinetic - start).numpy()
    last = [
        ase.Atoms(molecule.numbers, positions.numpy(), cell=molecule.cell, pbc=molecule.pbc)
        for positions in x
    ]
    return Survival(times, change, last)
