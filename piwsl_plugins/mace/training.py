"""One training epoch of MACE with displaced structures evaluated around each model call."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from mace.modules.loss import is_ddp_enabled
from torch import Tensor
from torch.optim import LBFGS

from ..core import displacements
from ..core.evaluation import Evaluated, points_with_forces, residuals
from ..core.report import describe
from ..core.schedule import weight_factor
from .labels import labelled
from .loss import TERMS, PIWSLLoss
from .transforms import Batch, Structures, join, keep_first

REPLAY_HEAD = "pt_head"


class DisplacedEvaluation:
    """Hooks on a MACE model that put PIWSL residuals into its output, in training only.

    MACE's trainer calls ``model(batch, training=True, …)``. With ``join``, displaced
    structures whose forces are needed are joined to the batch before the call, and the output
    is cut back to the original structures after it. Then the remaining displaced structures
    are evaluated, most with energies alone, and these are added to the output, for the
    structures that carry terms:

    - ``piwsl_pitc``, ``piwsl_pisc``: residuals, ``(n_paths, n_structures)`` in eV;
    - ``piwsl_n_atoms``, ``piwsl_weight``: number of atoms and weight of each structure.

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
    ) -> None:
        """
        Args:
            model: the MACE model, not its DistributedDataParallel wrapper.
            loss: gives the settings; its ``factor`` is set before each model call.
            epoch: current epoch.
            first_step: number of the epoch's first optimiser step.
            one_step: whether all model calls of the epoch belong to one step (LBFGS).
            join: whether to join displaced structures to the batch; the result is the same. A
                GPU is faster with one large call than with two, so by default there. On a CPU
                a call of twice the size costs up to three times as much (docs/step_cost.md).
        """
        self.model = model
        self.loss = loss
        self.settings = loss.settings
        self.epoch = epoch
        self.step = first_step
        self.one_step = one_step
        self.join = model.r_max.device.type != "cpu" if join is None else join
        self.r_max = float(model.r_max)
        names = list(getattr(model, "heads", None) or ["Default"])
        chosen = self.settings.heads or [
            name for name in names if name != REPLAY_HEAD or len(names) == 1
        ]
        self.heads = [names.index(name) for name in chosen]
        self._call: _DisplacedCall | None = None

    def __enter__(self) -> DisplacedEvaluation:
        self._handles = [
            self.model.register_forward_pre_hook(self._before, with_kwargs=True),
            self.model.register_forward_hook(self._after),
        ]
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()
        self.loss.factor = 0.0

    def _before(
        self, model: torch.nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if not keywords.get("training", False):
            return None
        self.loss.factor = weight_factor(self.settings, self.epoch, self.step)
        self.step += 0 if self.one_step else 1
        if self.loss.factor == 0.0:
            return None
        batch: Batch = args[0]
        self._call = _DisplacedCall(self, batch, Structures(batch, self._carry_terms(batch)))
        return (self._call.enlarged(), *args[1:]), keywords

    def _after(self, model: torch.nn.Module, args: tuple[Any, ...], output: Batch) -> Batch | None:
        call, self._call = self._call, None
        return None if call is None else call.finish(output)

    def _carry_terms(self, batch: Batch) -> Tensor:
        """``(n_structures,)`` bool: right head, and labelled where an option needs labels."""
        keep = torch.ones_like(batch["ptr"][1:], dtype=torch.bool)
        if "head" in batch:
            keep &= torch.isin(batch["head"], torch.tensor(self.heads, device=keep.device))
        if self.settings.needs_labels():
            keep &= labelled(batch)
        return keep


class _DisplacedCall:
    """One model call with displaced structures; the core's ``Evaluator``."""

    def __init__(self, hooks: DisplacedEvaluation, batch: Batch, structures: Structures) -> None:
        self.model = hooks.model
        self.r_max = hooks.r_max
        self.settings = hooks.settings
        self.batch = batch
        self.structures = structures
        join = hooks.join and len(structures) > 0
        self.joined = points_with_forces(self.settings) if join else ()
        self.evaluated: dict[str, Evaluated] = {}
        self.keys = structures.keys(self.settings.seed or 0, hooks.epoch)
        self.displacement = self._draw()

    def _draw(self) -> dict[str, Tensor]:
        """Displacements that the positions take exactly, also after rounding to float32."""
        positions = self.structures.positions
        drawn = displacements.draw_points(
            self.settings, self.keys, self.structures.sizes, self.structures.data.get("move_mask")
        )
        return {
            point: (positions + field.to(positions)) - positions for point, field in drawn.items()
        }

    def enlarged(self) -> Batch:
        """The batch joined with the displaced structures whose forces are needed."""
        if not self.joined:
            return self.batch
        displaced = [
            self.structures.displaced(self.displacement[point], self.r_max) for point in self.joined
        ]
        return join([self.batch, *displaced])

    def finish(self, output: Batch) -> Batch:
        """The output for the original structures alone, with the residuals added."""
        structures = self.structures
        n_atoms, n_structures = len(structures.keep_atoms), len(structures.keep)
        energy, forces = _varying_energy(self.model, output), output["forces"]
        energies = energy.split([n_structures] + [len(structures)] * len(self.joined))
        parts = forces.split([n_atoms] + [sum(structures.sizes)] * len(self.joined))
        self.evaluated = dict(zip(self.joined, map(Evaluated, energies[1:], parts[1:])))
        self.evaluated["origin"] = Evaluated(
            energies[0][structures.keep], parts[0][structures.keep_atoms]
        )
        if self.joined:
            output = keep_first(output, (n_atoms, len(forces)), (n_structures, len(energy)))
        else:
            output = dict(output)
        output["piwsl_n_atoms"] = structures.n_atoms.to(energy)
        output["piwsl_weight"] = self.batch["weight"][structures.keep]
        for term, residual in self._residuals(output).items():
            output[f"piwsl_{term}"] = residual
        return output

    def _residuals(self, output: Batch) -> dict[str, Tensor]:
        structures = self.structures
        forces = self.evaluated["origin"].forces
        if not len(structures):
            return {term: forces.new_zeros(1, 0) for term in TERMS}
        if self.settings.displacement == "adversarial":
            self.displacement["displaced"] = displacements.adversarial(
                self.settings,
                forces - structures.data["forces"],
                self.keys,
                structures.sizes,
                structures.data.get("move_mask"),
            )
        waypoint = self.displacement.get("waypoint")
        return residuals(
            self.settings,
            self,
            self.displacement["displaced"].to(forces),
            None if waypoint is None else waypoint.to(forces),
            structures.structure_index,
            self._labels(output) if self.settings.anchor == "label" else None,
        )

    def _labels(self, output: Batch) -> Evaluated:
        constant = output["energy"] - _varying_energy(self.model, output)
        data = self.structures.data
        return Evaluated(data["energy"] - constant[self.structures.keep].detach(), data["forces"])

    def with_forces(self, point: str) -> Evaluated:
        """Part of the core's ``Evaluator``: from the joined model call, or one of its own."""
        if point not in self.evaluated:
            batch = self.structures.displaced(self.displacement[point], self.r_max)
            output = self._call_model(batch, compute_force=True)
            self.evaluated[point] = Evaluated(_varying_energy(self.model, output), output["forces"])
        return self.evaluated[point]

    def energy(self, point: str) -> Tensor:
        """Part of the core's ``Evaluator``: a model call without forces."""
        batch = self.structures.displaced_without_forces(self.displacement[point], self.r_max)
        return _varying_energy(self.model, self._call_model(batch, compute_force=False))

    def _call_model(self, batch: Batch, compute_force: bool) -> Batch:
        # forward, not __call__: the hooks are for the trainer's call
        return self.model.forward(
            batch,
            training=True,
            compute_force=compute_force,
            compute_virials=False,
            compute_stress=False,
        )


def _varying_energy(model: torch.nn.Module, output: Batch) -> Tensor:
    """The energy without that of the isolated atoms, which is the same at every point.

    In float32 the total energy of a DFT data set (thousands of eV) has no digits left for a
    residual of some meV. Models of other types give the total energy.
    """
    if output.get("contributions") is not None:  # MACE, EnergyDipolesMACE: E0 comes first
        return output["contributions"][:, 1:].sum(dim=-1)
    if type(model).__name__ == "ScaleShiftMACE":
        return output["interaction_energy"]
    return output["energy"]


def train_one_epoch_with_piwsl(train: Callable[[], None], arguments: dict[str, Any]) -> None:
    """Run MACE's ``train_one_epoch`` with displaced evaluation, and log the epoch's terms.

    Args:
        train: MACE's function with its arguments bound.
        arguments: these arguments by name.
    """
    loss: PIWSLLoss = arguments["loss_fn"]
    if not loss.is_on:
        return train()
    epoch: int = arguments["epoch"]
    one_step = isinstance(arguments["optimizer"], LBFGS)
    first_step = epoch if one_step else epoch * len(arguments["data_loader"])
    with DisplacedEvaluation(arguments["model"], loss, epoch, first_step, one_step):
        train()
    means = loss.statistics.take(reduce=is_ddp_enabled())
    if means:
        weights = loss.weights_at(epoch)
        logging.info(f"Epoch {epoch}: PIWSL: {describe(means)}")
        loss.warn(means, weights["pitc"])
        if arguments["rank"] == 0:
            arguments["logger"].log(results_line(epoch, means, weights))


def results_line(epoch: int, means: dict[str, float], weights: dict[str, float]) -> dict[str, Any]:
    """The epoch's entry in MACE's results file, beside MACE's own of mode "opt" and "eval"."""
    line: dict[str, Any] = {"mode": "piwsl", "epoch": epoch, "base_loss": means["base"]}
    for term, weight in weights.items():
        if term in means:
            line[term] = means[term]
            line[f"{term}_weight"] = weight
            line[f"rms_{term}_residual_per_atom"] = means[f"{term}_residual"]
    return line
