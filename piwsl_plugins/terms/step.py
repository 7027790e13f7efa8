"""One training step: which structures carry terms, where they are displaced, what is evaluated.

A trainer calls its model once in a step. :class:`~piwsl_plugins.terms.training.Training` hands the
batch of this call to :class:`Step` before it, and the output after it.
Displacements and edges are worked out on the CPU, from what the loader left there, and copied to
the model's device; nothing is copied back.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..options.settings import ADVERSARIAL
from .displacements import Keys, epoch_keys
from .found import Found
from .hessian_targets import Targets
from .host import Batch, Evaluated, Host, Output, Structures
from .loss_gradient import LossGradient
from .neighbours import DisplacedEdges
from .terms import Displacer, Residual, Term


class Step:
    """One call of the model by the trainer, with displaced structures around it.

    The call is made with :attr:`inputs`: the batch, the structures of the pool, and the displaced
    structures that share the call. :meth:`finish` takes the output apart, and evaluates the other
    displaced structures, most with energies alone.

    Attributes:
        inputs: what the model is to be called with.
        forces: whether forces are needed in this call.
    """

    def __init__(
        self,
        host: Host,
        terms: Sequence[Term],
        batch: Batch,
        pool: Batch | None,
        seed: int,
        epoch: int,
        base_uses_forces: bool,
        join: bool | None = None,
        loss_gradient: LossGradient | None = None,
        number: int = 0,
    ) -> None:
        """
        Args:
            host: the framework.
            terms: those that act in this step.
            batch: of the trainer.
            pool: structures that go with it.
            seed: of the displacements.
            epoch: current epoch.
            base_uses_forces: whether the trainer needs forces in this call.
            join: whether displaced structures share calls with the batch and one another; the
                result is the same. By default what the host finds faster.
            loss_gradient: gives that of the supervised loss; called at most once.
            number: of the batch, by which structures of the pool are displaced anew each time.

        Raises:
            RuntimeError: if a displacer needs this gradient, and it is not given.
        """
        self._host = host
        self._terms = terms
        self._batches = [batch] if pool is None else [batch, pool]
        whole = host.join(self._batches) if len(self._batches) > 1 else batch
        self._selections = []
        if terms:
            parts = list(map(host.describe, self._batches))
            structures = Structures.joined(parts)
            numbers = (0, number)  # of the trainer's batch, and of the pool
            keys = np.concatenate(
                [epoch_keys(p.keys, seed, epoch, n) for p, n in zip(parts, numbers)]
            )
            weight = host.weight(whole)
            displacers = dict.fromkeys(term.displacer for term in terms)
            gradient = None
            if any(displacer.needs_gradient for displacer in displacers):
                gradient = _on_cpu(loss_gradient)
            for displacer in displacers:
                shared = [term for term in terms if term.displacer is displacer]
                given = gradient if displacer.needs_gradient else None
                self._selections.append(
                    Selection(host, displacer, shared, whole, structures, weight, keys, given)
                )
        self.forces = base_uses_forces or any(
            "origin" in selection.forces_at for selection in self._selections
        )
        shares = host.shares_calls(batch, self.forces) if join is None else join
        self._joined: list[tuple[Selection, str]] = []
        for selection in self._selections:
            selection.shares_calls = shares
            if shares:
                self._joined += [(selection, point) for point in selection.like(self.forces)]
        displaced = [selection.batch_at(point) for selection, point in self._joined]
        self._batches += displaced
        self._n_undisplaced = len(self._batches) - len(displaced)
        self.inputs = host.join([whole, *displaced]) if displaced else whole

    @property
    def unmoved(self) -> int:
        """How many structures have terms, and no gradient of the loss to be displaced along."""
        return sum(selection.unmoved for selection in self._selections)

    def finish(self, output: Output) -> Found:
        """The output for the batch alone and that for the pool, with what the terms found."""
        parts = [output]
        if len(self._batches) > 1:
            parts = self._host.split(output, self._batches)
        answers = [self._host.read(part) for part in parts]
        undisplaced = answers[: self._n_undisplaced]
        energy = torch.cat([answer.energy for answer in undisplaced])
        forces = [answer.forces for answer in undisplaced if answer.forces is not None]
        origin = Evaluated(energy, torch.cat(forces) if self.forces else None)
        for (selection, point), answer in zip(self._joined, answers[self._n_undisplaced :]):
            selection.know(point, answer)
        found = {
            term.name: (residual, selection)
            for selection in self._selections
            for term, residual in selection.residuals(origin)
        }
        penalties, residuals = {}, {}
        for name in (term.name for term in self._terms):
            if name not in found:
                penalties[name] = residuals[name] = energy.new_zeros(0)
                continue
            residual, selection = found[name]
            weight = selection.of_structures(selection.weight).to(energy)
            penalties[name] = residual.penalty * weight[residual.structure]
            residuals[name] = residual.value
        pool = parts[1] if self._n_undisplaced > 1 else None
        return Found(parts[0], self._terms, penalties, residuals, pool)


class Selection:
    """The structures of one displacer, and the model's answers at their points.

    Attributes:
        structures: the chosen ones.
        weight: of all structures, on the model's device.
        n_atoms: ``(n_structures,)``, theirs, on the model's device.
        structure_index: ``(n_atoms,)``, likewise.
        forces_at: points, and "origin", at which one of the terms needs forces.
        shares_calls: whether points that need the same are evaluated in one call.
        targets: what labels say along the displacements, if there are labels.
        unmoved: how many of them have a gradient of the loss that is 0 at every atom.
    """

    def __init__(
        self,
        host: Host,
        displacer: Displacer,
        terms: Sequence[Term],
        batch: Batch,
        structures: Structures,
        weight: Tensor,
        keys: Keys,
        gradient: Tensor | None = None,
    ) -> None:
        """
        Args:
            host: the framework.
            displacer: says which structures these are.
            terms: that share it.
            batch: what the model is called with, without displaced structures.
            structures: of this batch.
            weight: of all these structures.
            keys: of their displacements.
            gradient: of the supervised loss by the positions of this batch, ``(n_atoms, 3)`` on
                the CPU, if the displacer needs it.
        """
        self._host, self._terms, self.unmoved = host, terms, 0
        self.weight, self.shares_calls = weight, False
        self.forces_at = frozenset().union(*(term.forces_at for term in terms))
        self.targets: Targets | None = None
        self._moved: dict[str, Tensor] = {}
        self._energies: dict[str, Tensor] = {}
        self._forces: dict[str, Tensor] = {}
        structures = displacer.look_up(structures)
        keep = structures.carry & displacer.choose(structures)
        self.structures = structures.some(keep)
        if not len(self):
            return
        self._batch = host.select(batch, keep, structures.sizes)
        self._device = weight.device
        self._chosen = self._atoms = None
        if not keep.all():
            self._chosen = self._to_device(np.flatnonzero(keep))
            self._atoms = self._to_device(np.flatnonzero(np.repeat(keep, structures.sizes)))
        sizes = np.asarray(self.structures.sizes)
        self.n_atoms = self._to_device(sizes)
        self.structure_index = self._to_device(np.repeat(np.arange(len(sizes)), sizes))
        if gradient is not None:
            gradient = gradient[np.repeat(keep, structures.sizes)]
            blocks = gradient.split(self.structures.sizes)
            self.unmoved = sum(not block.any() for block in blocks)
        drawn = displacer.draw(self.structures, keys[keep], gradient)
        self.targets = drawn.targets
        self._displace(drawn.fields, displacer.reach)

    def __len__(self) -> int:
        return len(self.structures)

    def _to_device(self, array: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(array).to(self._device, non_blocking=True)

    def of_structures(self, values: Tensor) -> Tensor:
        """Values of the chosen ones, of those of all structures."""
        return values if self._chosen is None else values.index_select(0, self._chosen)

    def of_atoms(self, values: Tensor) -> Tensor:
        """Likewise of their atoms."""
        return values if self._atoms is None else values.index_select(0, self._atoms)

    def _displace(self, fields: dict[str, Tensor], reach: float) -> None:
        """Move the atoms, and see to it that the neighbour lists reach so far."""
        for point, field in fields.items():
            positions = self.structures.positions
            self._moved[point] = positions + field.to(positions)
        reach = max(reach, *map(_longest, fields.values()))
        lists = self._host.lists
        every = np.ones(len(self), dtype=bool)
        self.structures = self.structures.with_lists(lists, reach, every)
        made = [skin for skin in self.structures.lists if skin is not None]
        self._edges = DisplacedEdges(made, self.structures.sizes, lists.r_max, self._device)

    def like(self, forces: bool) -> list[str]:
        """The points where forces, or energies alone, suffice; none without structures."""
        needed = dict.fromkeys(point for term in self._terms for point in term.points)
        return [
            point
            for point in needed
            if point in self._moved and (point in self.forces_at) == forces
        ]

    def batch_at(self, point: str) -> Batch:
        """The structures at a point, for a model call."""
        moved = self.structures.positions if point == "origin" else self._moved[point]
        positions = moved.to(self._device, non_blocking=True)
        return self._host.displaced(self._batch, positions, self._edges.at(moved))

    def know(self, point: str, answer: Evaluated) -> None:
        """Take over what a model call has found at a point."""
        self._energies[point] = answer.energy
        if answer.forces is not None:
            self._forces[point] = answer.forces

    def displacement(self, point: str) -> Tensor:
        """Part of :class:`~piwsl_plugins.terms.terms.Points`."""
        return self._moved[point] - self.structures.positions

    def with_forces(self, point: str) -> tuple[Tensor, Tensor]:
        """Likewise."""
        if point not in self._forces:
            self.know(point, self._host.evaluate(self.batch_at(point), forces=True))
        return self._energies[point], self._forces[point]

    def energy(self, point: str) -> Tensor:
        """Likewise; no gradient is worked out for the positions."""
        if point in self.forces_at:
            return self.with_forces(point)[0]
        if point not in self._energies:
            points = [point]
            if self.shares_calls:
                points = [name for name in self.like(forces=False) if name not in self._energies]
            batches = [self.batch_at(name) for name in points]
            batch = self._host.join(batches) if len(batches) > 1 else batches[0]
            energies = self._host.evaluate(batch, forces=False).energy.split(len(self))
            self._energies.update(zip(points, energies))
        return self._energies[point]

    def residuals(self, origin: Evaluated) -> list[tuple[Term, Residual]]:
        """What each term finds; nothing where no structure carries it.

        Args:
            origin: the model's answer for all undisplaced structures.
        """
        if not len(self):
            return []
        forces = None if origin.forces is None else self.of_atoms(origin.forces)
        here = Evaluated(self.of_structures(origin.energy), forces)
        self.know("origin", here)
        return [(term, term.residual(self)) for term in self._terms]


def _on_cpu(loss_gradient: LossGradient | None) -> Tensor:
    if loss_gradient is None:
        raise RuntimeError(
            f"PIWSL: displacement={ADVERSARIAL} needs the gradient of the supervised loss by the "
            "positions; give Training.begin a loss_gradient, or choose atom_norm"
        )
    return loss_gradient().detach().cpu()


def _longest(field: Tensor) -> float:
    x, y, z = field.square().unbind(dim=-1)
    longest: float = (x + y + z).max().sqrt().item()
    return longest
