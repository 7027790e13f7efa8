"""Hooks on a MACE model that evaluate displaced structures around the trainer's call of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core import displacements
from ..core.curvature import CurvatureLabel, known_curvatures
from ..core.evaluation import Evaluated, against_target, points_with_forces, residuals
from ..core.schedule import weight_factor
from .curvature import find_labels
from .energy_loss import EnergyLoss
from .labels import labelled
from .loss import TERMS, PIWSLLoss
from .points import Evaluations, Points, varying_energy
from .sources import Sources, carrying_heads
from .transforms import Batch, Structures, join, keep_first, without_forces

#: up to so many edges, a batch whose energies alone are needed is joined on a CPU, too
JOIN_EDGES = 3000
_NO_FORCES = {"compute_force": False, "compute_virials": False, "compute_stress": False}


class DisplacedEvaluation:
    """Hooks on a MACE model that put PIWSL residuals into its output, in training only.

    MACE's trainer calls ``model(batch, training=True, …)``. With ``join``, displaced
    structures are joined to the batch before the call where this saves one, and the output
    is cut back to the original structures after it. Then the remaining displaced structures
    are evaluated, most with energies alone, and these are added to the output, for the
    structures that carry terms, those of the unlabelled pool last:

    - ``piwsl_pitc``, ``piwsl_pisc``: what counts of the residuals, ``(n_paths, n_structures)``
      in eV;
    - ``piwsl_n_atoms``, ``piwsl_weight``: number of atoms and weight of each structure.

    Where neither the base loss nor a term needs forces, the trainer's call computes none.

    Under DistributedDataParallel the hooks sit on the wrapped model, so that all happens in
    one forward call. Use as a context manager for one epoch.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: PIWSLLoss,
        epoch: int,
        first_step: int,
        one_step: bool = False,
        join: bool | None = None,
        sources: Sources | None = None,
    ) -> None:
        """
        Args:
            model: the MACE model, not its DistributedDataParallel wrapper.
            loss: gives the settings; its ``factor`` is set before each model call.
            epoch: current epoch.
            first_step: number of the epoch's first optimiser step.
            one_step: whether all model calls of the epoch belong to one step (LBFGS); they then
                share the pool's structures.
            join: whether to join displaced structures to the batch; the result is the same. A
                GPU is faster with one large call than with two, so by default there. On a CPU
                a call of twice the size costs up to three times as much (docs/step_cost.md); there
                only batches of up to ``JOIN_EDGES`` are joined, where energies alone are needed.
            sources: curvature labels, reference model and pool, where the settings use them.
        """
        self.model = model
        self.loss = loss
        self.settings = loss.settings
        self.epoch = epoch
        self.step = first_step
        self.one_step = one_step
        self.join = join
        self.r_max = float(model.r_max)
        self.base_uses_forces = not isinstance(loss.base_loss, EnergyLoss)
        self.sources = sources or Sources()
        self.reference = self.sources.reference
        if self.reference is not None:
            self.reference.match(model)
        names = list(getattr(model, "heads", None) or ["Default"])
        self.heads = [names.index(name) for name in carrying_heads(self.settings, names)]
        self._call: _DisplacedCall | None = None

    def __enter__(self) -> DisplacedEvaluation:
        self.loss.parameters_of_model = list(self.model.parameters())
        self._handles = [
            self.model.register_forward_pre_hook(self._before, with_kwargs=True),
            self.model.register_forward_hook(self._after),
        ]
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()
        self.loss.factor = 0.0
        self.loss.parameters_of_model = []

    def _before(
        self, model: torch.nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if not keywords.get("training", False):
            return None
        step = self.step
        self.step += 0 if self.one_step else 1
        self.loss.step = step
        on = self.loss.is_on
        self.loss.factor = weight_factor(self.settings, self.epoch, step) if on else 0.0
        batch: Batch = args[0]
        forces = self.base_uses_forces
        if self.loss.factor > 0.0:
            forces = forces or self.settings.needs_forces()
            self._call = _DisplacedCall(self, batch, step, forces)
            batch = self._call.enlarged()
        if forces:
            return (batch, *args[1:]), keywords
        return (without_forces(batch), *args[1:]), keywords | _NO_FORCES

    def _after(self, model: torch.nn.Module, args: tuple[Any, ...], output: Batch) -> Batch | None:
        call, self._call = self._call, None
        return None if call is None else call.finish(output)

    def carry_terms(self, batch: Batch) -> Tensor:
        """``(n_structures,)`` bool: right head, and labelled where an option needs labels."""
        keep = torch.ones_like(batch["ptr"][1:], dtype=torch.bool)
        if "head" in batch:
            keep &= torch.isin(batch["head"], torch.tensor(self.heads, device=keep.device))
        if self.settings.needs_labels():
            keep &= labelled(batch)
        return keep

    def call_model(self, batch: Batch, compute_force: bool) -> tuple[Tensor, Tensor | None]:
        """Energies and forces of displaced structures, differentiable in the parameters."""
        # forward, not __call__: the hooks are for the trainer's call
        output = self.model.forward(
            batch,
            training=True,
            compute_force=compute_force,
            compute_virials=False,
            compute_stress=False,
        )
        return varying_energy(self.model, output), output["forces"]


class _DisplacedCall:
    """One call of the model by the trainer, with its displaced structures."""

    def __init__(self, hooks: DisplacedEvaluation, batch: Batch, step: int, forces: bool) -> None:
        self.hooks = hooks
        self.settings = hooks.settings
        self.batch = batch
        pool = hooks.sources.pool
        self.pool = None if pool is None else pool.batch(self.settings, step, like=batch)
        self.structures, self.labels = self._structures()
        self.keys = self.structures.keys(self.settings.seed or 0, hooks.epoch)
        self.points = Points(self.structures, self._draw())
        together = self._together(forces)
        join = together and len(self.structures) > 0
        self.join_pool = join and self.pool is not None
        if not join:
            self.joined: tuple[str, ...] = ()
        elif forces:
            self.joined = points_with_forces(self.settings)
        else:
            needed = ("displaced", "mirrored") if self.settings.uses("pitc") else ()
            self.joined = tuple(
                point
                for point in needed
                if point in self.points.displacement
                and point not in points_with_forces(self.settings)
            )
        self.together = together
        self.evaluations = Evaluations(hooks.call_model, self.points, hooks.r_max, together)

    def _together(self, forces: bool) -> bool:
        """Whether points share calls, with the batch and with one another."""
        if self.hooks.join is not None:
            return self.hooks.join
        small = self.batch["edge_index"].shape[1] <= JOIN_EDGES
        return self.batch["positions"].device.type != "cpu" or (small and not forces)

    def _structures(self) -> tuple[Structures, list[CurvatureLabel] | None]:
        """The structures that carry terms, and their curvature labels with that target."""
        keep = self.hooks.carry_terms(self.batch)
        known = self.hooks.sources.labels
        if known is None:
            return Structures(self.batch, keep, self.pool), None
        numbers = self.hooks.model.atomic_numbers
        found = find_labels(known, self.batch, numbers)
        keep &= torch.tensor([label is not None for label in found], device=keep.device)
        structures = Structures(self.batch, keep, self.pool)
        kept = [label for label, kept in zip(found, structures.keep.tolist()) if kept]
        if self.pool is not None:
            kept += find_labels(known, self.pool, numbers)
        return structures, [label for label in kept if label is not None]

    def _draw(self) -> dict[str, Tensor]:
        """Displacements that the positions take exactly, also after rounding to float32."""
        structures = self.structures
        positions = structures.positions
        drawn = displacements.draw_points(
            self.settings, self.keys, structures.sizes, self._movable(), self.labels
        )
        rounded = {
            point: (positions + field.to(positions)) - positions for point, field in drawn.items()
        }
        if "mirrored" in rounded:
            rounded["mirrored"] = (positions - rounded["displaced"]) - positions
        return rounded

    def _movable(self) -> Tensor | None:
        return self.structures.data.get("move_mask")

    def enlarged(self) -> Batch:
        """The batch joined with the pool and displaced structures that share its call."""
        others = [self.pool] if self.join_pool and self.pool is not None else []
        others += [self.points.batch(point, self.hooks.r_max) for point in self.joined]
        return join([self.batch, *others]) if others else self.batch

    def finish(self, output: Batch) -> Batch:
        """The output for the original structures alone, with the residuals added."""
        structures = self.structures
        energy = varying_energy(self.hooks.model, output)
        first_energy, first_forces = self._separate(energy, output["forces"])
        if self.pool is not None and not self.join_pool:
            pool = dict(self.pool)
            compute = self.settings.needs_forces()
            found = self.hooks.call_model(pool if compute else without_forces(pool), compute)
            first_energy = torch.cat([first_energy, found[0]])
            if first_forces is not None:
                first_forces = None if found[1] is None else torch.cat([first_forces, found[1]])
        self.evaluations.know("origin", first_energy, first_forces)
        n_atoms, n_structures = len(structures.keep_atoms), len(structures.keep)
        if len(energy) > n_structures:
            n_all = n_atoms + self._n_joined_atoms()
            output = keep_first(output, (n_atoms, n_all), (n_structures, len(energy)))
        else:
            output = dict(output)
        weight = self.batch["weight"][structures.keep]
        output["piwsl_n_atoms"] = structures.n_atoms.to(energy)
        output["piwsl_weight"] = torch.cat([weight, weight.new_ones(structures.n_pool)])
        for term, residual in self._residuals(output, energy).items():
            output[f"piwsl_{term}"] = residual
        return output

    def _n_joined_atoms(self) -> int:
        pool = len(self.pool["batch"]) if self.join_pool and self.pool is not None else 0
        return pool + len(self.joined) * sum(self.structures.sizes)

    def _separate(self, energy: Tensor, forces: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Energies and forces at r, the joined pool's last; those of joined points are kept."""
        structures = self.structures
        n_pool = structures.n_pool if self.join_pool else 0
        pool_atoms = len(self.pool["batch"]) if self.join_pool and self.pool is not None else 0
        n_points = len(self.joined)
        original, pool, *energies = energy.split(
            [len(structures.keep), n_pool] + [len(structures)] * n_points
        )
        first_energy = torch.cat([original[structures.keep], pool])
        parts: list[Tensor | None] = [None] * n_points
        first_forces = None
        if forces is not None:
            original, pool, *parts = forces.split(
                [len(structures.keep_atoms), pool_atoms] + [sum(structures.sizes)] * n_points
            )
            first_forces = torch.cat([original[structures.keep_atoms], pool])
        for point, *found in zip(self.joined, energies, parts, strict=True):
            self.evaluations.know(point, *found)
        return first_energy, first_forces

    def _residuals(self, output: Batch, energy: Tensor) -> dict[str, Tensor]:
        structures, settings = self.structures, self.settings
        if not len(structures):
            return {term: energy.new_zeros(1, 0) for term in TERMS}
        if settings.displacement == "adversarial":
            forces = self.evaluations.with_forces("origin").forces
            self.points.displacement["displaced"] = displacements.adversarial(
                settings,
                forces - structures.data["forces"],
                self.keys,
                structures.sizes,
                self._movable(),
            )
        displacement = self.points.displacement["displaced"].to(energy)
        waypoint = self.points.displacement.get("waypoint")
        where = (
            displacement,
            None if waypoint is None else waypoint.to(energy),
            structures.structure_index,
        )
        anchor = self._anchor(output) if settings.anchor == "label" else None
        found = residuals(settings, self.evaluations, *where, anchor)
        known = reference = None
        if self.labels is not None:
            known = known_curvatures(self.labels, self.keys, displacement)
        if self.hooks.reference is not None:
            model = self.hooks.reference
            answers = Evaluations(model, self.points, model.r_max, self.together)
            reference = residuals(settings, answers, *where)
        return against_target(
            settings, found, displacement, structures.structure_index, known, reference
        )

    def _anchor(self, output: Batch) -> Evaluated:
        constant = output["energy"] - varying_energy(self.hooks.model, output)
        data = self.structures.data
        return Evaluated(data["energy"] - constant[self.structures.keep].detach(), data["forces"])
