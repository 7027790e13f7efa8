"""How long molecular dynamics with a trained model holds: replicas of a molecule in one batch."""

from __future__ import annotations

from typing import Any

import ase
import numpy as np
import torch
from ase import units
from ase.data import covalent_radii
from ase.neighborlist import natural_cutoffs, neighbor_list
from mace import data, tools
from mace.tools import torch_geometric

#: a bond that deviates from its length at the start by this fraction is broken
BOND_TOLERANCE = 0.5
#: atoms closer than this multiple of the sum of their covalent radii have collapsed
COLLAPSE_FACTOR = 0.5


class Replicas:
    """Copies of one molecule (no periodic boundaries), evaluated by a MACE model in one call."""

    def __init__(self, model: Any, starts: list[ase.Atoms]) -> None:
        numbers = tools.AtomicNumberTable([int(z) for z in model.atomic_numbers])
        self.model, self.cutoff = model, float(model.r_max)
        self.graphs = [
            data.AtomicData.from_config(
                data.config_from_atoms(atoms, key_specification=data.KeySpecification()),
                z_table=numbers,
                cutoff=self.cutoff,
                heads=model.heads,
            )
            for atoms in starts
        ]
        self.batches: dict[int, dict[str, torch.Tensor]] = {}

    def _batch(self, n: int) -> dict[str, torch.Tensor]:
        """A batch of ``n`` replicas; all are the same molecule."""
        if n not in self.batches:
            loader = torch_geometric.dataloader.DataLoader(self.graphs[:n], batch_size=n)
            self.batches[n] = next(iter(loader)).to_dict()
        return self.batches[n]

    def forces(self, positions: np.ndarray) -> np.ndarray:
        """Forces in eV/Å for positions (n, n_atoms, 3) in Å."""
        n, n_atoms, _ = positions.shape
        distances = np.linalg.norm(positions[:, :, None] - positions[:, None], axis=-1)
        which, sender, receiver = np.nonzero(
            (distances < self.cutoff) & ~np.eye(n_atoms, dtype=bool)
        )
        edges = np.stack([sender, receiver]) + which * n_atoms
        batch = dict(self._batch(n))
        batch["positions"] = torch.tensor(positions.reshape(-1, 3))
        batch["edge_index"] = torch.tensor(edges)
        batch["shifts"] = batch["unit_shifts"] = torch.zeros(edges.shape[1], 3)
        output = self.model(batch, compute_force=True)
        return output["forces"].detach().numpy().reshape(positions.shape)


def _bonds(start: ase.Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bonded pairs and their lengths (Å); no O–H: the enol proton moves between the oxygens."""
    first, second, length = neighbor_list("ijd", start, natural_cutoffs(start, mult=1.25))
    pair = np.sort(np.stack([start.numbers[first], start.numbers[second]]), axis=0)
    once = (first < second) & ~((pair[0] == 1) & (pair[1] == 8))
    return first[once], second[once], length[once]


def survival(
    model: Any,
    frames: list[ase.Atoms],
    seed: int,
    *,
    replicas: int,
    picoseconds: float,
    temperature: float,
    timestep: float = 0.5,
    friction: float = 0.01,
) -> dict[str, float]:
    """Langevin dynamics (BAOAB) of replicas that start from different test frames.

    A replica has died when a bond, other than O–H, is more than half longer or shorter than at
    the start, when two atoms collapse, or when a number is not finite.

    Args:
        model: a MACE model.
        frames: test frames, all of one molecule in one order of atoms.
        seed: of velocities and noise.
        replicas: number of replicas.
        picoseconds: length.
        temperature: in K.
        timestep: in fs.
        friction: in 1/fs.

    Returns:
        ``md_survival_ps``, the mean over replicas; ``md_survived``, the share that lived to the
        end; ``md_temperature`` in K, the mean kinetic one.
    """
    rng = np.random.default_rng([seed, 500])
    starts = [frames[i] for i in np.linspace(0, len(frames) - 1, replicas).astype(int)]
    system = Replicas(model, starts)
    positions = np.stack([atoms.positions for atoms in starts])
    first, second, _ = _bonds(starts[0])
    lengths = np.linalg.norm(positions[:, second] - positions[:, first], axis=-1)
    masses = starts[0].get_masses()[:, None]
    radii = covalent_radii[starts[0].numbers]
    closest = COLLAPSE_FACTOR * (radii[:, None] + radii) * (1 - np.eye(len(radii)))
    spread = np.sqrt(units.kB * temperature / masses)
    velocities = spread * rng.standard_normal(positions.shape)
    step = timestep * units.fs
    decay = np.exp(-friction * timestep)
    n_steps = round(1000 * picoseconds / timestep)
    died = np.full(replicas, n_steps)
    alive = np.arange(replicas)
    kinetic: list[float] = []
    forces = system.forces(positions)
    for number in range(1, n_steps + 1):
        velocities += 0.5 * step * forces / masses
        positions += 0.5 * step * velocities
        noise = rng.standard_normal((replicas, *positions.shape[1:]))[alive]
        velocities = decay * velocities + np.sqrt(1 - decay**2) * spread * noise
        positions += 0.5 * step * velocities
        finite = np.isfinite(positions).all(axis=(1, 2))
        now = np.linalg.norm(positions[:, second] - positions[:, first], axis=-1)
        whole = (np.abs(now / lengths[alive] - 1) < BOND_TOLERANCE).all(axis=1)
        distances = np.linalg.norm(positions[:, :, None] - positions[:, None], axis=-1)
        lives = finite & whole & (distances >= closest).all(axis=(1, 2))
        died[alive[~lives]] = number
        alive, positions, velocities = alive[lives], positions[lives], velocities[lives]
        if not len(alive):
            break
        forces = system.forces(positions)
        velocities += 0.5 * step * forces / masses
        energy = 0.5 * (masses * velocities**2).sum(axis=(1, 2)).mean()
        kinetic.append(2 * energy / (3 * len(masses) * units.kB))
    return {
        "md_survival_ps": float(died.mean() * timestep / 1000),
        "md_survived": len(alive) / replicas,
        "md_temperature": float(np.mean(kinetic)) if kinetic else float("nan"),
    }
