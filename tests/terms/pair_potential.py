"""A third framework, to show how little one needs: a pair potential in plain torch.

V(d) = Σ_k c_k(Z, Z') exp(−a_k d) f(d) for atoms at distance d, with learned c and a, and a cutoff
function f; see docs/new_framework.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import ase
import ase.neighborlist
import numpy as np
import torch
from torch import Tensor

from piwsl_plugins.terms.host import STRUCTURES, Evaluated, Structures
from piwsl_plugins.terms.neighbours import Edges, NeighbourLists

Batch = dict[str, Tensor]
ELEMENTS = [1, 6, 8]


class PairPotential(torch.nn.Module):
    """Energies (eV), and forces (eV/Å) as their gradient."""

    r_max = 3.0

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        shape = (len(ELEMENTS), len(ELEMENTS), 4)
        coefficients = torch.randn(shape, generator=random, dtype=torch.float64)
        self.coefficients = torch.nn.Parameter(coefficients)
        self.exponents = torch.nn.Parameter(torch.linspace(0.5, 2.0, 4, dtype=torch.float64))

    def forward(self, batch: Batch, forces: bool = True) -> dict[str, Tensor]:
        positions = batch["positions"].requires_grad_(forces)
        first, second = batch["edges"]
        distance = (positions[second] + batch["shifts"] - positions[first]).norm(dim=-1)
        envelope = torch.cos(0.5 * torch.pi * distance / self.r_max).square()
        kinds = torch.searchsorted(torch.tensor(ELEMENTS), batch["numbers"])
        pair = self.coefficients + self.coefficients.transpose(0, 1)
        values = pair[kinds[first], kinds[second]] * torch.exp(-self.exponents * distance[:, None])
        per_atom = torch.zeros_like(positions[:, 0]).index_add(
            0, first, values.sum(dim=-1) * envelope
        )
        index = torch.repeat_interleave(batch["sizes"])
        energy = per_atom.new_zeros(len(batch["sizes"])).index_add(0, index, per_atom)
        output = {"energy": energy}
        if forces:
            total = energy.sum() + 0.0 * positions.sum()
            (slope,) = torch.autograd.grad(total, positions, create_graph=True)
            output["forces"] = -slope
        return output


def search(positions, cell, pbc, cutoff):
    """Pairs of atoms within a cutoff, and the cells by which the second is shifted."""
    first, second, cells = ase.neighborlist.primitive_neighbor_list(
        "ijS", pbc, cell, positions, cutoff
    )
    return np.array([first, second]), cells.astype(float)


def batch_of(structures: Sequence[ase.Atoms]) -> Batch:
    """Structures as a trainer's loader would hand them over."""
    parts = []
    for atoms in structures:
        edges, cells = search(atoms.positions, atoms.cell.array, atoms.pbc, PairPotential.r_max)
        unknown = np.full((len(atoms), 3), np.nan)
        parts.append(
            {
                "positions": torch.from_numpy(atoms.positions.copy()),
                "numbers": torch.from_numpy(atoms.numbers).long(),
                "sizes": torch.tensor([len(atoms)]),
                "cells": torch.from_numpy(atoms.cell.array.copy()).unsqueeze(0),
                "pbc": torch.from_numpy(atoms.pbc.copy()).unsqueeze(0),
                "labels": torch.from_numpy(atoms.arrays.get("REF_forces", unknown).copy()),
                "edges": torch.from_numpy(edges),
                "shifts": torch.from_numpy(cells @ atoms.cell.array),
            }
        )
    return PairHost.join(parts)


class PairHost:
    """The pair potential for the terms: all that a framework must do."""

    def __init__(self, model: PairPotential) -> None:
        self.model = model
        self.lists = NeighbourLists(search, model.r_max)

    def describe(self, batch: Batch) -> Structures:
        return batch.get(STRUCTURES) or Structures.of(
            batch["sizes"].tolist(),
            batch["positions"],
            batch["numbers"],
            batch["cells"].numpy(),
            batch["pbc"].numpy(),
            carry=np.ones(len(batch["sizes"]), dtype=bool),
        )

    def weight(self, batch: Batch) -> Tensor:
        return batch["positions"].new_ones(len(batch["sizes"]))

    def force_labels(self, batch: Batch) -> Tensor:
        return batch["labels"]

    def select(self, batch: Batch, keep: np.ndarray, sizes: list[int]) -> Batch:
        structures, atoms = (
            torch.from_numpy(np.flatnonzero(mask)).to(batch["positions"].device)
            for mask in (keep, np.repeat(keep, sizes))
        )
        chosen = {key: batch[key].index_select(0, structures) for key in ("sizes", "cells", "pbc")}
        return chosen | {key: batch[key].index_select(0, atoms) for key in ("numbers", "labels")}

    def displaced(self, batch: Batch, positions: Tensor, edges: Edges) -> Batch:
        return batch | {"positions": positions, "edges": edges.index(), "shifts": edges.shifts()}

    def beside(self, batch: Batch, loaded: Batch) -> tuple[Batch, Batch]:
        device = batch["positions"].device
        moved = {key: value.to(device) for key, value in loaded.items()}
        return moved, moved

    @staticmethod
    def join(batches: Sequence[Batch]) -> Batch:
        starts = np.cumsum([0, *(len(batch["positions"]) for batch in batches)])
        edges = [batch["edges"] + start for batch, start in zip(batches, starts.tolist())]
        keys = batches[0].keys() - {"edges", STRUCTURES}
        joined = {key: torch.cat([batch[key].detach() for batch in batches]) for key in keys}
        return joined | {"edges": torch.cat(edges, dim=1)}

    def split(self, output: dict[str, Tensor], batches: Sequence[Batch]) -> list[dict[str, Tensor]]:
        sizes = {
            "energy": [len(batch["sizes"]) for batch in batches],
            "forces": [len(batch["positions"]) for batch in batches],
        }
        parts = {key: value.split(sizes[key]) for key, value in output.items()}
        return [{key: parts[key][index] for key in parts} for index in range(len(batches))]

    def read(self, output: dict[str, Tensor]) -> Evaluated:
        return Evaluated(output["energy"], output.get("forces"))

    def evaluate(self, batch: Batch, forces: bool) -> Evaluated:
        return self.read(self.model(batch, forces))

    def shares_calls(self, batch: Batch, forces: bool) -> bool:
        return False
