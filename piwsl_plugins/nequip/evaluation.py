"""Displaced frames evaluated around each training call of a NequIP ``GraphModel``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from nequip.data import AtomicDataDict
from torch import Tensor

from ..core import displacements
from ..core.evaluation import Evaluated, points_with_forces, residuals
from ..core.settings import Settings
from .frames import Frames, keep_first
from .loss import PIWSLLoss


class DisplacedEvaluation:
    """Hooks on a ``GraphModel`` that put PIWSL residuals into its output, in training only.

    With ``join``, displaced frames whose forces are needed are joined to the batch before the
    call, and the output is cut back to the original frames after it. Then the remaining
    displaced frames are evaluated, most with energies alone, and these are added to the
    output, for the frames that carry terms:

    - ``piwsl_pitc``, ``piwsl_pisc``: residuals, ``(n_paths, n_frames)`` in eV;
    - ``piwsl_n_atoms``: ``(n_frames,)``, number of atoms.

    The hooks sit inside the training module, so that with several ranks all happens in one
    forward call.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: PIWSLLoss,
        seed: int,
        schedule: Callable[[], tuple[int, float] | None],
        join: bool | None = None,
    ) -> None:
        """
        Args:
            model: NequIP's ``GraphModel`` or ``CompileGraphModel``.
            loss: gives the settings; its ``factor`` is set before each model call.
            seed: seed of the displacements.
            schedule: gives the epoch and the factor of the weights, or None outside training.
            join: whether to join displaced frames to the batch; the result is the same. A GPU
                is faster with one large call than with two, so by default there. On a CPU a
                call of twice the size can cost three times as much.
        """
        self.model = model
        self.join = join
        self.loss = loss
        self.seed = seed
        self.schedule = schedule
        self.r_max = float(model.metadata["r_max"])
        self._compiled_without_forces: tuple[dict] = ({},)
        self._call: _DisplacedCall | None = None
        self._handles = [
            model.register_forward_pre_hook(self._before),
            model.register_forward_hook(self._after),
        ]

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()

    def _before(
        self, model: torch.nn.Module, args: tuple[AtomicDataDict.Type]
    ) -> tuple[AtomicDataDict.Type] | None:
        self._call = None
        now = self.schedule() if model.training else None
        if now is None:
            return None
        epoch, self.loss.factor = now
        if self.loss.factor == 0.0 or not self.loss.weights():
            return None
        self._call = _DisplacedCall(self, args[0], epoch)
        return (self._call.enlarged(),)

    def _after(
        self,
        model: torch.nn.Module,
        args: tuple[AtomicDataDict.Type],
        output: AtomicDataDict.Type,
    ) -> AtomicDataDict.Type | None:
        call, self._call = self._call, None
        return None if call is None else call.finish(output)

    @contextlib.contextmanager
    def energies_alone(self) -> Iterator[None]:
        """Let the model compute no forces.

        ``CompileGraphModel`` of NequIP 0.19 (``nequip/nn/compile.py``) finds compiled graphs by
        the names of the inputs alone, which are the same with and without forces.
        """
        modules = [m for m in self.model.modules() if getattr(m, "do_derivatives", False)]
        compiled: Any = getattr(self.model, "_compiled_cache", None)
        for module in modules:
            module.do_derivatives = False
        if compiled is not None:
            self.model._compiled_cache = self._compiled_without_forces
        try:
            yield
        finally:
            for module in modules:
                module.do_derivatives = True
            if compiled is not None:
                self.model._compiled_cache = compiled


class _DisplacedCall:
    """One model call with displaced frames; the core's ``Evaluator``."""

    def __init__(self, hooks: DisplacedEvaluation, batch: AtomicDataDict.Type, epoch: int) -> None:
        self.hooks = hooks
        self.settings = hooks.loss.active_settings()
        self.batch = batch
        self.frames = Frames(batch, _carry_terms(self.settings, batch))
        join = batch["pos"].device.type != "cpu" if hooks.join is None else hooks.join
        self.joined = points_with_forces(self.settings) if join and len(self.frames) else ()
        self.evaluated: dict[str, Evaluated] = {}
        self.keys = self.frames.keys(hooks.seed, epoch)
        self.displacement = self._draw()

    def _draw(self) -> dict[str, Tensor]:
        drawn = displacements.draw_points(self.settings, self.keys, self.frames.sizes)
        return {point: field.to(self.batch["pos"]) for point, field in drawn.items()}

    def _displaced(self, point: str) -> AtomicDataDict.Type:
        return self.frames.displaced(self.displacement[point], self.hooks.r_max)

    def enlarged(self) -> AtomicDataDict.Type:
        """The batch joined with the displaced frames whose forces are needed."""
        if not self.joined:
            return self.batch
        return AtomicDataDict.batched_from_list([self.batch, *map(self._displaced, self.joined)])

    def finish(self, output: AtomicDataDict.Type) -> AtomicDataDict.Type:
        """The output for the original frames alone, with the residuals added."""
        frames, forces = self.frames, output.get("forces")
        if forces is None:
            raise RuntimeError(
                "the PIWSL loss needs forces, but the model gives none; build it with "
                "do_derivatives: true (the default of NequIPGNNModel and AllegroModel)"
            )
        n_frames, n_atoms = len(frames.keep), len(frames.keep_atoms)
        energy = output["total_energy"].squeeze(-1)
        energies = energy.split([n_frames] + [len(frames)] * len(self.joined))
        parts = forces.split([n_atoms] + [sum(frames.sizes)] * len(self.joined))
        self.evaluated = dict(zip(self.joined, map(Evaluated, energies[1:], parts[1:])))
        self.evaluated["origin"] = Evaluated(
            frames.of_frames(energies[0]), frames.of_atoms(parts[0])
        )
        if self.joined:
            n_edges = AtomicDataDict.num_edges(self.batch)
            output = keep_first(output, n_frames, n_atoms, n_edges)
        added = {f"piwsl_{term}": value for term, value in self._residuals().items()}
        return {**output, **added, "piwsl_n_atoms": frames.n_atoms.to(energy)}

    def _residuals(self) -> dict[str, Tensor]:
        origin, frames = self.evaluated["origin"], self.frames
        if not len(frames):
            return {term: origin.energy.new_zeros(1, 0) for term in self.hooks.loss.weights()}
        reference = None
        if self.settings.needs_labels():
            labels = frames.data
            reference = Evaluated(labels["total_energy"].squeeze(-1), labels["forces"])
        if self.settings.displacement == "adversarial":
            assert reference is not None
            self.displacement["displaced"] = displacements.adversarial(
                self.settings, origin.forces - reference.forces, self.keys, frames.sizes
            )
        return residuals(
            self.settings,
            self,
            self.displacement["displaced"],
            self.displacement.get("waypoint"),
            frames.frame_index,
            reference if self.settings.anchor == "label" else None,
        )

    def with_forces(self, point: str) -> Evaluated:
        """Part of the core's ``Evaluator``: from the joined model call, or one of its own."""
        if point not in self.evaluated:
            output = self._call_model(point)
            self.evaluated[point] = Evaluated(output["total_energy"].squeeze(-1), output["forces"])
        return self.evaluated[point]

    def energy(self, point: str) -> Tensor:
        """Part of the core's ``Evaluator``: a model call without forces."""
        with self.hooks.energies_alone():
            return self._call_model(point)["total_energy"].squeeze(-1)

    def _call_model(self, point: str) -> AtomicDataDict.Type:
        # forward, not __call__: the hooks are for the training module's call
        return self.hooks.model.forward(self._displaced(point))


def labelled(batch: AtomicDataDict.Type) -> Tensor:
    """``(n_frames,)`` bool: which frames have energy and force labels; NaN is no label."""
    energy, forces = batch.get("total_energy"), batch.get("forces")
    if energy is None or forces is None:
        return torch.zeros_like(batch["num_atoms"], dtype=torch.bool)
    unknown = (~forces.isfinite().all(dim=-1)).long()
    n_unknown = torch.zeros_like(batch["num_atoms"]).index_add(0, batch["batch"], unknown)
    return energy.isfinite().view(-1) & (n_unknown == 0)


def _carry_terms(settings: Settings, batch: AtomicDataDict.Type) -> Tensor:
    if settings.needs_labels():
        return labelled(batch)
    return torch.ones_like(batch["num_atoms"], dtype=torch.bool)
