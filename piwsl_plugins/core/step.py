"""One training step: which structures carry terms, where they are displaced, what is evaluated.

A trainer calls its model once in a step. A framework's hooks hand the batch of this call to
:class:`Step` before it, and the output after it; all else happens here, for every framework.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .displacements import structure_keys
from .hessian_targets import Target
from .host import Batch, Evaluated, Host, Output, Structures
from .terms import Displacer, Residual, Term

#: key of the pool's structures and their part of the output in a model's output
POOL = "piwsl_pool"


class Step:
    """One call of the model by the trainer, with displaced structures around it.

    The call is made with :attr:`inputs`: the batch, the structures of the pool, and the displaced
    structures that share the call. :meth:`finish` takes the output apart, evaluates the other
    displaced structures, most with energies alone, and adds for each term, for the structures that
    carry it, those of the pool last:

    - ``piwsl_<term>``: penalties, ``(n,)``, each with its structure's weight;
    - ``piwsl_<term>_residual``: ``(n_paths, n)``, in the term's unit.

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
        """
        self._host = host
        self._terms = terms
        self._batches = [batch] if pool is None else [batch, pool]
        whole = host.join(self._batches) if len(self._batches) > 1 else batch
        self._selections = []
        if terms:
            structures = host.describe(whole)
            carry = structures.carry & (structures.n_atoms > 1)
            for displacer in dict.fromkeys(term.displacer for term in terms):
                shared = [term for term in terms if term.displacer is displacer]
                self._selections.append(
                    Selection(host, displacer, shared, whole, structures, carry, seed, epoch)
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

    def finish(self, output: Output) -> Output:
        """The output for the batch alone, with what the terms found."""
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
        result = dict(parts[0])
        if self._n_undisplaced > 1:
            result[POOL] = parts[1]
        found = {
            term.name: (residual, selection)
            for selection in self._selections
            for term, residual in selection.residuals(origin)
        }
        for term in self._terms:
            name = f"piwsl_{term.name}"
            if term.name not in found:
                result[name] = energy.new_zeros(0)
                result[f"{name}_residual"] = energy.new_zeros(1, 0)
                continue
            residual, selection = found[term.name]
            weight = selection.structures.weight.to(energy)
            result[name] = residual.penalty * weight[residual.structure]
            result[f"{name}_residual"] = residual.value
        return result


class Selection:
    """The structures of one displacer, and the model's answers at their points.

    Attributes:
        structures: of the chosen ones.
        forces_at: points, and "origin", at which one of the terms needs forces.
        shares_calls: whether points that need the same are evaluated in one call.
        targets: what labels say along the displacements, one per structure.
    """

    def __init__(
        self,
        host: Host,
        displacer: Displacer,
        terms: Sequence[Term],
        batch: Batch,
        structures: Structures,
        carry: Tensor,
        seed: int,
        epoch: int,
    ) -> None:
        """
        Args:
            host: the framework.
            displacer: says which structures these are.
            terms: that share it.
            batch: what the model is called with, without displaced structures.
            structures: of this batch.
            carry: ``(n_structures,)`` bool, those that may carry terms.
            seed: of the displacements.
            epoch: current epoch.
        """
        self._host, self._displacer, self._terms = host, displacer, terms
        numbers, positions = structures.numbers.cpu(), structures.positions.detach().cpu()
        self._keep = carry & displacer.choose(structures, numbers, positions)
        self._keep_atoms = torch.repeat_interleave(self._keep, structures.n_atoms)
        self.structures = _chosen(structures, self._keep, self._keep_atoms)
        self.n_atoms = self.structures.n_atoms
        self.structure_index = torch.repeat_interleave(self.n_atoms)
        self.shares_calls = False
        self.forces_at = frozenset().union(*(term.forces_at for term in terms))
        self._positions = positions[self._keep_atoms.cpu()]
        self.targets: Sequence[Target] = ()
        self._moved: dict[str, Tensor] = {}
        self._energies: dict[str, Tensor] = {}
        self._forces: dict[str, Tensor] = {}
        if not len(self):
            return
        self._batch = host.select(batch, self._keep)
        keys = structure_keys(self._positions, self.n_atoms.tolist(), seed, epoch)
        chosen = numbers[self._keep_atoms.cpu()]
        drawn = displacer.draw(self.structures, chosen, self._positions, keys)
        self.targets = drawn.targets
        self._displace(drawn.fields)

    def __len__(self) -> int:
        return len(self.n_atoms)

    def _displace(self, fields: dict[str, Tensor]) -> None:
        for point, field in fields.items():
            self._moved[point] = self._positions + field.to(self._positions)

    def like(self, forces: bool) -> list[str]:
        """The points whose displacement is known, and where forces, or energies alone, suffice."""
        needed = dict.fromkeys(point for term in self._terms for point in term.points)
        return [
            point
            for point in needed
            if point in self._moved and (point in self.forces_at) == forces
        ]

    def batch_at(self, point: str) -> Batch:
        """The structures at a point, for a model call."""
        moved = self._positions if point == "origin" else self._moved[point]
        return self._host.displaced(self._batch, moved)

    def know(self, point: str, answer: Evaluated) -> None:
        """Take over what a model call has found at a point."""
        self._energies[point] = answer.energy
        if answer.forces is not None:
            self._forces[point] = answer.forces

    def displacement(self, point: str) -> Tensor:
        """Part of :class:`~piwsl_plugins.core.terms.Points`."""
        return self._moved[point] - self._positions

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
        forces = None if origin.forces is None else origin.forces[self._keep_atoms]
        self.know("origin", Evaluated(origin.energy[self._keep], forces))
        here = Evaluated(self._energies["origin"], forces)
        self._displace(self._displacer.late(self.structures, here))
        return [(term, term.residual(self)) for term in self._terms]


def _chosen(structures: Structures, keep: Tensor, keep_atoms: Tensor) -> Structures:
    """The part of a description that concerns some structures."""

    labels = structures.force_labels
    return Structures(
        n_atoms=structures.n_atoms[keep],
        positions=structures.positions[keep_atoms],
        numbers=structures.numbers[keep_atoms],
        carry=structures.carry[keep],
        weight=structures.weight[keep],
        force_labels=None if labels is None else labels[keep_atoms],
    )
