"""The equations written out: slow, and independent of how a step goes.

One structure at a time, in float64 on the CPU; energies and forces come from the framework's plain
model with another neighbour list.
"""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..labels.hessian_labels import HessianLabel
from ..options.settings import Settings
from ..terms import displacements
from .framework import Framework
from .structures import moved, some_gradient

SEED, EPOCH = 4, 2
#: of the Hessian term, in Å
LENGTH = 0.05


class Reference:
    """The residuals of one structure."""

    def __init__(
        self, framework: Framework, settings: Settings, seed: int = SEED, epoch: int = EPOCH
    ) -> None:
        """
        Args:
            framework: whose model is evaluated on the CPU.
            settings: decided.
            seed: of the displacements.
            epoch: in which they are drawn.
        """
        self.framework: Framework = getattr(framework, "on_cpu", framework)
        self.settings, self._seed, self._epoch = settings, seed, epoch

    def at(self, atoms: ase.Atoms, field: Tensor) -> tuple[Tensor, Tensor]:
        """Energy and forces of a structure with displaced atoms."""
        return self.framework.alone(moved(atoms, field))

    def _keys(self, atoms: ase.Atoms) -> displacements.Keys:
        keys = displacements.geometry_keys(torch.from_numpy(atoms.positions), [len(atoms)])
        return displacements.epoch_keys(keys, self._seed, self._epoch)

    def consistency(self, atoms: ase.Atoms) -> dict[str, Tensor]:
        """Residuals of PITC and PISC in eV."""
        options, n, keys = self.settings.consistency, len(atoms), self._keys(atoms)
        energy, forces = self.at(atoms, torch.zeros(n, 3))
        drawn, waypoint = (
            displacements.draw(options, stream, keys, [n]) for stream in ("displaced", "waypoint")
        )
        if options.displacement == "adversarial":
            gradient = some_gradient(atoms)
            drawn = options.max_displacement * gradient / gradient.norm(dim=-1, keepdim=True)
        delta, waypoint = _rounded(atoms, drawn), _rounded(atoms, waypoint)
        there, there_forces = self.at(atoms, delta)
        if options.consistency_form == "symmetric":
            return {"pitc": 0.5 * (there + self.at(atoms, -delta)[0]) - energy}
        k = {"first_order": 0.0, "trapezoid": 0.5}[options.consistency_form]
        via, via_forces = self.at(atoms, waypoint)
        leg = delta - waypoint
        along = (delta * ((1 - k) * forces + k * there_forces)).sum()
        second = (leg * ((1 - k) * via_forces + k * there_forces)).sum()
        return {"pitc": there - (energy - along), "pisc": there - (via - second)}

    def _probe(
        self, atoms: ase.Atoms, label: HessianLabel
    ) -> tuple[Tensor, NDArray[np.float64] | None]:
        """δ of a structure with a label, and the change of forces if it was measured along it."""
        n, keys = len(atoms), self._keys(atoms)
        number = int(displacements.random_bits(keys, "hessian", [1])[0])
        if label.displacements is not None:
            assert label.force_changes is not None
            index = number % len(label.displacements)
            return torch.from_numpy(label.displacements[index]), label.force_changes[index]
        some = np.arange(n) if label.atoms is None else label.atoms
        field = torch.zeros(n, 3, dtype=torch.float64)
        step = self.settings.hessian.hessian_step
        assert step is not None  # decided
        if self.settings.hessian.hessian_displacement == "gaussian":
            field[some] = step * displacements.normal(keys, "hessian", [n])[some]
        else:
            component = number // 2 % (3 * len(some))
            field[some[component // 3], component % 3] = step if number % 2 else -step
        return field, None

    def hessian(self, atoms: ase.Atoms, label: HessianLabel) -> Tensor:
        """Penalties of the Hessian term, one per component or structure."""
        n = len(atoms)
        field, change = self._probe(atoms, label)
        delta = _rounded(atoms, field)
        some = np.arange(n) if label.atoms is None else label.atoms
        known = np.arange(n)
        if change is not None:
            demanded = -torch.from_numpy(change)
        else:
            assert label.hessian is not None
            if label.hessian.shape[1] != 3 * n:
                known = some
            vector = delta.numpy()[some].ravel()
            demanded = torch.from_numpy((label.hessian.T @ vector).reshape(-1, 3))
        energy, forces = self.at(atoms, torch.zeros(n, 3))
        if self.settings.hessian.hessian_form == "energies":
            curvature = 0.5 * (self.at(atoms, delta)[0] + self.at(atoms, -delta)[0]) - energy
            work = 0.5 * (demanded * delta[torch.from_numpy(known)]).sum()
            error = (curvature - work) / (0.5 * delta.square().sum())
            return (LENGTH * error).square().view(1)
        difference = forces - self.at(atoms, delta)[1]
        if self.settings.hessian.hessian_form == "symmetric" and change is None:
            difference = 0.5 * (self.at(atoms, -delta)[1] - self.at(atoms, delta)[1])
        size = delta.norm() / (3 * len(some)) ** 0.5
        error = (difference[torch.from_numpy(known)] - demanded) / size
        penalties: Tensor = (LENGTH * error).square().flatten()
        return penalties

    def terms(
        self, structures: Sequence[ase.Atoms], labels: Sequence[HessianLabel] = ()
    ) -> dict[str, Tensor]:
        """The penalties of each term, in the order of the structures."""
        found: dict[str, list[Tensor]] = {"pitc": [], "pisc": [], "hessian": []}
        per_atom = self.settings.consistency.normalization == "per_atom"
        for atoms in structures:
            if len(atoms) == 1:
                continue
            for name, residual in self.consistency(atoms).items():
                value = residual / len(atoms) if per_atom else residual
                found[name].append(value.square().view(1))
            for label in labels:
                if np.array_equal(label.positions, atoms.positions):
                    found["hessian"].append(self.hessian(atoms, label))
        return {name: torch.cat(values) for name, values in found.items() if values}

    def own_hessian(self, atoms: ase.Atoms, step: float = 1e-4) -> NDArray[np.float64]:
        """The model's Hessian by central differences of its forces, in eV/Å²."""
        rows = []
        for component in range(3 * len(atoms)):
            field = torch.zeros(3 * len(atoms), dtype=torch.float64)
            field[component] = step
            before, after = (
                self.at(atoms, sign * field.view(-1, 3))[1].detach() for sign in (-1.0, 1.0)
            )
            rows.append(((before - after) / (2 * step)).flatten().numpy())
        hessian: NDArray[np.float64] = np.array(rows)
        hessian = 0.5 * (hessian + hessian.T)
        return hessian


def _rounded(atoms: ase.Atoms, field: Tensor) -> Tensor:
    """A displacement as the positions that it leads to have it."""
    positions = torch.from_numpy(atoms.positions)
    return (positions + field) - positions
