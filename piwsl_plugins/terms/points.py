"""Displaced structures evaluated by a function of the positions, for the terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError
from .hessian_targets import Targets

#: positions ``(n_atoms, 3)`` to energies ``(n_structures,)`` and forces ``(n_atoms, 3)``
Evaluate = Callable[[Tensor], tuple[Tensor, Tensor | None]]
#: what ``evaluate`` gives at the undisplaced positions
Origin = tuple[Tensor, Tensor | None]


class Some(NamedTuple):
    """Some structures of a batch, and their atoms, by number."""

    structures: Tensor
    atoms: Tensor


class CalledPoints:
    """Structures at displaced points, as the terms ask for them (:class:`.terms.Points`)."""

    def __init__(
        self,
        evaluate: Evaluate,
        positions: Tensor,
        batch: Tensor,
        fields: Mapping[str, Tensor],
        origin: Origin | None = None,
        some: Some | None = None,
        targets: Targets | None = None,
    ) -> None:
        """
        Args:
            evaluate: the model.
            positions: ``(n_atoms, 3)`` in Å.
            batch: ``(n_atoms,)``, the structure of each atom.
            fields: displacements by point, ``(n_atoms, 3)`` in Å.
            origin: what ``evaluate`` gives at ``positions``, if it is known.
            some: the structures that carry the term, if not all do.
            targets: what labels say along the displacements of these.
        """
        self.targets, self._evaluate, self._some = targets, evaluate, some
        self._positions = positions.detach()
        sizes = torch.tensor(sizes_of(batch), device=batch.device)
        self._n = len(sizes)
        self.n_atoms = sizes if some is None else sizes[some.structures]
        index = torch.arange(len(self.n_atoms), device=batch.device)
        self.structure_index = index.repeat_interleave(self.n_atoms)
        if batch.shape != positions.shape[:1]:
            raise InputError(
                f"batch: of shape {tuple(batch.shape)}, but there are {len(positions)} atoms"
            )
        self._moved = {"origin": self._positions}
        for point, field in fields.items():
            check_shape("displacements", field, positions)
            self._moved[point] = self._positions + field.detach().to(self._positions)
        self._known = {} if origin is None else {"origin": self._checked(origin)}

    def _checked(self, answer: Origin) -> Origin:
        energy, forces = answer
        if energy.shape != (self._n,):
            raise InputError(
                f"evaluate: energies of shape {tuple(energy.shape)}, but of {self._n} structures "
                f"({self._n},) is needed"
            )
        if forces is not None:
            check_shape("evaluate: forces", forces, self._positions)
            if torch.is_grad_enabled() and energy.requires_grad and not forces.requires_grad:
                raise InputError(
                    "evaluate: its energies can be differentiated, its forces cannot, so that "
                    "nothing would be learned from them; take them by torch.autograd.grad with "
                    "create_graph=True, or, to look at penalties alone, work under torch.no_grad()"
                )
        return answer

    def _at(self, point: str) -> Origin:
        if point not in self._known:
            self._known[point] = self._checked(self._evaluate(self._moved[point].clone()))
        return self._known[point]

    def displacement(self, point: str) -> Tensor:
        """As in :class:`.terms.Points`, like the next two."""
        field = self._moved[point] - self._positions
        return field.cpu() if self._some is None else field[self._some.atoms].cpu()

    def energy(self, point: str) -> Tensor:
        """Likewise."""
        energy = self._at(point)[0]
        return energy if self._some is None else energy[self._some.structures]

    def with_forces(self, point: str) -> tuple[Tensor, Tensor]:
        """Likewise."""
        forces = self._at(point)[1]
        if forces is None:
            raise InputError(
                "evaluate: it gives no forces, which this form needs; let it, or choose a form "
                "of energies"
            )
        return self.energy(point), forces if self._some is None else forces[self._some.atoms]


def sizes_of(batch: Tensor) -> list[int]:
    """Number of atoms of each structure.

    Raises:
        InputError: if the atoms of a structure do not stand together.
    """
    index = batch.detach().cpu()
    if index.dim() != 1 or index.is_floating_point() or not len(index):
        raise InputError("batch: the structure of each atom is needed, whole numbers (n_atoms,)")
    if int(index[0]) != 0 or not bool(((index.diff() == 0) | (index.diff() == 1)).all()):
        raise InputError(
            "batch: the atoms of a structure must stand one after the other, of structures 0, 1, "
            "2, … none of which is without atoms"
        )
    sizes: list[int] = torch.bincount(index).tolist()
    return sizes


def check_shape(name: str, given: Tensor, positions: Tensor) -> None:
    """Refuse a tensor that has not one row for each atom, naming it."""
    if given.shape != positions.shape or positions.shape[1:] != (3,):
        raise InputError(
            f"{name}: of shape {tuple(given.shape)}, beside positions {tuple(positions.shape)}; "
            "both must be (n_atoms, 3)"
        )
