"""NVE dynamics of many replicas of a molecule at once, with a MACE model, until they fail."""

from __future__ import annotations

import dataclasses
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
    """The energies and forces of ``n`` replicas of one molecule, without a neighbour search."""

    def __init__(self, model: Any, molecule: ase.Atoms) -> None:
        """Prepare a model in single precision; ``molecule`` gives the elements."""
        self._model = model.to(torch.float32).eval()
        for parameter in self._model.parameters():
            parameter.requires_grad_(False)
        known = [int(z) for z in model.atomic_numbers]
        index = torch.tensor([known.index(z) for z in molecule.numbers])
        self._attributes = torch.nn.functional.one_hot(index, len(known)).to(torch.float32)
        n = self._n_atoms = len(molecule)
        self._pairs = torch.nonzero(~torch.eye(n, dtype=torch.bool)).T
        self._cutoff = float(model.r_max)

    def __call__(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Energies ``(n,)`` in eV and forces like ``positions``, ``(n, n_atoms, 3)`` in Å."""
        n, n_atoms = positions.shape[:2]
        first, second = self._pairs
        near = (positions[:, first] - positions[:, second]).norm(dim=-1) < self._cutoff
        replica, pair = torch.nonzero(near, as_tuple=True)
        edges = self._pairs[:, pair] + n_atoms * replica
        batch = {
            "positions": positions.reshape(-1, 3).to(torch.float32),
            "node_attrs": self._attributes.repeat(n, 1),
            "edge_index": edges,
            "shifts": torch.zeros(edges.shape[1], 3),
            "unit_shifts": torch.zeros(edges.shape[1], 3),
            "cell": torch.zeros(3 * n, 3),
            "batch": torch.arange(n).repeat_interleave(n_atoms),
            "ptr": torch.arange(n + 1) * n_atoms,
            "head": torch.zeros(n, dtype=torch.long),
        }
        found = self._model(batch, compute_force=True)
        return found["energy"].detach().double(), found["forces"].view_as(positions).double()


def survival(
    model: Any, starts: list[ase.Atoms], settings: Dynamics, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """How long each replica holds.

    The criteria are those of ``piwsl report``: a bond of the start beyond its limit, atoms that
    collapsed, a temperature that ran away, numbers that are not finite.

    Args:
        model: a MACE model; it is changed to single precision.
        starts: frames of one molecule, one per replica.
        settings: of the dynamics.
        seed: draws the velocities.

    Returns:
        times in ps, ``settings.length`` for those that hold, and for these the change of the total
        energy over the run in eV (NaN for the others).
    """
    torch.set_default_dtype(torch.float32)
    molecule, random = starts[0], np.random.default_rng([seed, 300])
    first, second, _ = bonds(molecule)
    radii = torch.as_tensor(covalent_radii[molecule.numbers])
    bonded = torch.zeros(len(molecule), len(molecule), dtype=torch.bool)
    bonded[first, second] = True
    upper = torch.where(bonded, settings.bond_factor * (radii[:, None] + radii), torch.inf)
    lower = COLLAPSE_FACTOR * (radii[:, None] + radii)
    lower.fill_diagonal_(-1.0)
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

    evaluate = Replicas(model, molecule)
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
        distance = torch.linalg.vector_norm(x[:, :, None] - x[:, None], dim=-1)
        kinetic = (p**2 / (2 * mass)).sum((1, 2))
        holds = ((distance < upper) & (distance > lower)).all(-1).all(-1)
        holds &= (kinetic < hottest) & torch.isfinite(energy)
        times[alive[~holds].numpy()] = number * settings.timestep / 1000
        alive, x, p, force, energy, kinetic, start = (
            part[holds] for part in (alive, x, p, force, energy, kinetic, start)
        )
        if not len(alive):
            break
    if len(alive):
        change[alive.numpy()] = (energy + kinetic - start).numpy()
    return times, change
