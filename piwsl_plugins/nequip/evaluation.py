"""Displaced frames evaluated around each training call of a NequIP ``GraphModel``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import NamedTuple

import torch
from nequip.data import AtomicDataDict
from torch import Tensor

from ..core import displacements
from ..core.curvature import CurvatureLabel, known_curvatures
from ..core.evaluation import Evaluated, against_target, points_with_forces, residuals
from ..core.settings import Settings
from .calls import TrainedModel, forces_of, inputs
from .curvature import FrameLabels
from .frames import Frames, keep_first
from .labels import labelled
from .loss import PIWSLLoss
from .points import Points
from .pool import Pool
from .reference import FrozenModel

#: batches of up to so many edges are joined with their displaced frames on a CPU, too
JOIN_EDGES = 3000


class Moment(NamedTuple):
    """Where training stands.

    Attributes:
        epoch: from 0.
        factor: of the PIWSL weights.
        step: optimiser step, from 0.
        batch: number of the batch since the start of training, from 0.
    """

    epoch: int
    factor: float
    step: int = 0
    batch: int = 0


class DisplacedEvaluation:
    """Hooks on a ``GraphModel`` that put PIWSL residuals into its output, in training only.

    With ``join``, displaced frames that need what the batch needs (forces, or energies alone) are
    joined to the batch before the call, and the output is cut back to the original frames after
    it. Then the remaining displaced frames are evaluated, most with energies alone, and these are
    added to the output, for the frames that carry terms, those of the pool last:

    - ``piwsl_pitc``, ``piwsl_pisc``: residuals against the target, ``(n_paths, n_frames)`` in eV;
    - ``piwsl_n_atoms``: ``(n_frames,)``, number of atoms.

    If neither the supervised loss nor a term needs forces at the original frames, the training
    call computes none, and its output has none.

    The hooks sit inside the training module, so that with several ranks all happens in one
    forward call.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: PIWSLLoss,
        seed: int,
        schedule: Callable[[], Moment | None],
        join: bool | None = None,
        *,
        labels: FrameLabels | None = None,
        reference: FrozenModel | None = None,
        pool: Pool | None = None,
        metrics_use_forces: bool = False,
    ) -> None:
        """
        Args:
            model: NequIP's ``GraphModel`` or ``CompileGraphModel``.
            loss: gives the settings; told the moment before each model call.
            seed: seed of the displacements.
            schedule: gives the moment, or None outside training.
            join: whether displaced frames share calls with the batch and one another; the result
                is the same. By default where energies alone are computed, and on a GPU, which is
                faster with one large call than with two. On a CPU that holds for small batches,
                up to ``JOIN_EDGES``; beyond, a call with forces of twice the size can cost three
                times as much.
            labels: for target "curvature".
            reference: frozen model, for the targets that need one.
            pool: structures without labels.
            metrics_use_forces: whether the training call must give forces for other reasons than
                the loss.
        """
        self.model = TrainedModel(model)
        self.loss = loss
        self.seed = seed
        self.schedule = schedule
        self.join = join
        self.labels = labels
        self.reference = reference
        self.pool = pool
        self._base_uses_forces = loss.base_uses_forces or metrics_use_forces
        self._without_forces = contextlib.ExitStack()
        self._call: _DisplacedCall | None = None
        loss.trained.extend(p for p in model.parameters() if p.requires_grad)
        self._handles = [
            model.register_forward_pre_hook(self._before),
            model.register_forward_hook(self._after, always_call=True),
        ]

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()
        self.loss.trained.clear()

    def _before(
        self, model: torch.nn.Module, args: tuple[AtomicDataDict.Type]
    ) -> tuple[AtomicDataDict.Type] | None:
        self._call = None
        now = self.schedule() if model.training else None
        if now is None:
            return None
        self.loss.factor, self.loss.step = now.factor, now.step
        settings = self.loss.active_settings()
        active = now.factor != 0.0 and bool(self.loss.weights())
        forces = self._base_uses_forces or (active and settings.needs_forces())
        batch = args[0]
        if active:
            self._call = _DisplacedCall(self, settings, batch, now, forces)
            batch = self._call.enlarged()
        if forces:
            return (batch,)
        self._without_forces.enter_context(self.model.energies_alone())
        return (inputs(model, batch),)

    def _after(
        self,
        model: torch.nn.Module,
        args: tuple[AtomicDataDict.Type],
        output: AtomicDataDict.Type | None,
    ) -> AtomicDataDict.Type | None:
        call, self._call = self._call, None
        self._without_forces.close()
        # without output the model has raised an error
        return None if call is None or output is None else call.finish(output)


class _DisplacedCall:
    """One training call with displaced frames."""

    def __init__(
        self,
        hooks: DisplacedEvaluation,
        settings: Settings,
        batch: AtomicDataDict.Type,
        now: Moment,
        forces: bool,
    ) -> None:
        self.hooks, self.settings = hooks, settings
        self.batch, self.forces = batch, forces
        small = AtomicDataDict.num_edges(batch) <= JOIN_EDGES
        join = not forces or small or batch["pos"].device.type != "cpu"
        join = join if hooks.join is None else hooks.join
        self.own = _Group(hooks, settings, batch, now.epoch)
        self.groups = [self.own]
        if hooks.pool is not None:
            pooled = hooks.pool.batch(now.batch, batch["pos"].device)
            self.groups.append(_Group(hooks, settings, pooled, now.epoch))
        self.joined: tuple[str, ...] = ()
        if join and len(self.own.frames):
            with_forces = points_with_forces(settings)
            self.joined = (
                with_forces
                if forces
                else tuple(name for name in self.own.displacement if name not in with_forces)
            )

    def enlarged(self) -> AtomicDataDict.Type:
        """The batch joined with the displaced frames that need what it needs."""
        if not self.joined:
            return self.batch
        displaced = map(self.own.points.data, self.joined)
        return AtomicDataDict.batched_from_list([self.batch, *displaced])

    def finish(self, output: AtomicDataDict.Type) -> AtomicDataDict.Type:
        """The output for the original frames alone, with the residuals added."""
        frames, points = self.own.frames, self.own.points
        n_frames, n_atoms = len(frames.keep), len(frames.keep_atoms)
        energy = output["total_energy"].squeeze(-1)
        energies = energy.split([n_frames] + [len(frames)] * len(self.joined))
        found = dict(zip(("origin", *self.joined), energies, strict=True))
        found["origin"] = frames.of_frames(found["origin"])
        if self.forces:
            forces = forces_of(output)
            parts = forces.split([n_atoms] + [sum(frames.sizes)] * len(self.joined))
            points.evaluated = dict(zip(found, map(Evaluated, found.values(), parts)))
            points.evaluated["origin"] = Evaluated(found["origin"], frames.of_atoms(parts[0]))
        else:
            points.energies = found
        if self.joined:
            output = keep_first(output, n_frames, n_atoms, AtomicDataDict.num_edges(self.batch))
        n_carrying = torch.cat([group.frames.n_atoms for group in self.groups])
        return {**output, **self._residuals(energy), "piwsl_n_atoms": n_carrying.to(energy)}

    def _residuals(self, energy: Tensor) -> dict[str, Tensor]:
        found = [group.residuals() for group in self.groups if len(group.frames)]
        return {
            f"piwsl_{term}": torch.cat([residual[term] for residual in found], dim=-1)
            if found
            else energy.new_zeros(1, 0)
            for term in self.hooks.loss.weights()
        }


class _Group:
    """Frames of one batch that carry terms, with their displacements."""

    def __init__(
        self,
        hooks: DisplacedEvaluation,
        settings: Settings,
        batch: AtomicDataDict.Type,
        epoch: int,
    ) -> None:
        self.hooks, self.settings = hooks, settings
        self.join = hooks.join is None or hooks.join
        found = None if hooks.labels is None else hooks.labels.find(batch)
        self.frames = Frames(batch, _carry_terms(settings, batch, found))
        self.keys = self.frames.keys(hooks.seed, epoch)
        self.labels: list[CurvatureLabel] | None = None
        if found is not None:
            kept = zip(found, self.frames.keep.tolist(), strict=True)
            self.labels = [label for label, keep in kept if keep and label is not None]
        self.displacement = self._draw()
        self.points = Points(hooks.model, self.frames, self.displacement, self.join)

    def _draw(self) -> dict[str, Tensor]:
        drawn = displacements.draw_points(
            self.settings, self.keys, self.frames.sizes, labels=self.labels
        )
        return {point: field.to(self.frames.batch["pos"]) for point, field in drawn.items()}

    def residuals(self) -> dict[str, Tensor]:
        """Residuals against the target, by term."""
        settings, frames = self.settings, self.frames
        label = None
        if settings.needs_labels():
            data = frames.data
            label = Evaluated(data["total_energy"].squeeze(-1), data["forces"])
        if settings.displacement == "adversarial":
            assert label is not None
            error = self.points.with_forces("origin").forces - label.forces
            self.displacement["displaced"] = displacements.adversarial(
                settings, error, self.keys, frames.sizes
            )
        displacement = self.displacement["displaced"]

        def of(points: Points) -> dict[str, Tensor]:
            return residuals(
                settings,
                points,
                displacement,
                self.displacement.get("waypoint"),
                frames.frame_index,
                label if settings.anchor == "label" else None,
            )

        reference = known = None
        if self.hooks.reference is not None:
            frozen = Points(self.hooks.reference, frames, self.displacement, self.join)
            reference = {
                term: residual.to(displacement.dtype) for term, residual in of(frozen).items()
            }
        if self.labels is not None:
            known = known_curvatures(self.labels, self.keys, displacement)
        return against_target(
            settings, of(self.points), displacement, frames.frame_index, known, reference
        )


def _carry_terms(
    settings: Settings, batch: AtomicDataDict.Type, labels: list[CurvatureLabel | None] | None
) -> Tensor:
    """``(n_frames,)`` bool: which frames have the labels that the terms need."""
    sizes = batch["num_atoms"]
    carry = torch.ones_like(sizes, dtype=torch.bool)
    if labels is not None:
        found = [label is not None for label in labels]
        carry = torch.tensor(found, dtype=torch.bool, device=sizes.device)
    return carry & labelled(batch) if settings.needs_labels() else carry
