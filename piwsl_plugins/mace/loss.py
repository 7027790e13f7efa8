"""The loss that MACE's trainer sees: a supervised MACE loss, the pool's and the PIWSL terms."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from mace.modules.loss import (
    UniversalLoss,
    WeightedEnergyForcesL1L2Loss,
    WeightedHuberEnergyForcesStressLoss,
    is_ddp_enabled,
    weighted_mean_squared_error_energy,
)
from torch import Tensor

from ..terms.hessian_terms import HESSIAN_LENGTH
from ..terms.penalties import Huber, Norms, Penalty, Squares
from ..terms.step import POOL
from ..terms.term_table import weights_of
from ..terms.terms import Term
from ..terms.training_log import TrainingLog, describe_options
from .arguments import ENERGY, MaceSettings, check_forces, settings_of, store

#: key of the labels of the pool's structures, a MACE batch, in a model's output
POOL_LABELS = f"{POOL}_labels"
_PROPERTIES = ("energy", "forces", "stress", "virials", "dipole")


class EnergyLoss(torch.nn.Module):
    """Mean over structures of the squared error of the energy per atom, in eV².

    The energy part of MACE's weighted loss, with the same weights: ``energy_weight`` of the
    run, and ``weight`` and ``energy_weight`` of each structure (0 without an energy label).
    Forces are neither looked at nor needed in the model's output. MACE itself has no such loss.
    """

    def __init__(self, energy_weight: float = 1.0) -> None:
        super().__init__()
        weight = torch.tensor(energy_weight, dtype=torch.get_default_dtype())
        self.register_buffer("energy_weight", weight)

    def forward(self, ref, pred: dict[str, Tensor], ddp: bool | None = None) -> Tensor:
        """The loss of a batch, a scalar; arguments as in MACE's losses."""
        return self.energy_weight * weighted_mean_squared_error_energy(ref, pred, ddp)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(energy_weight={self.energy_weight:.3f})"


def has_label(data: Any, name: str) -> Tensor:
    """Which structures have a label that counts, ``(n_structures,)``."""
    return data[f"{name}_weight"] > 0


def is_given(data: Any, name: str) -> Tensor:
    """Which structures have a label, of whatever weight, ``(n_structures,)``.

    MACE fills the place of a missing one with zeros of weight 0. One that is there with weight 0
    is its own affair: some of its losses heed this weight, others do not.
    """
    filled = data[name] != 0
    if name == "forces":
        atoms = filled.any(dim=-1)
        filled = torch.zeros_like(data["weight"], dtype=torch.long)
        filled = filled.index_add(0, data["batch"], atoms.long())
    return has_label(data, name) | (filled.reshape(len(data["weight"]), -1) > 0).any(dim=-1)


def where_labelled(
    ref: Any,
    pred: dict[str, Any],
    properties: Sequence[str] = ("energy", "forces"),
    known: Callable[[Any, str], Tensor] = is_given,
) -> dict[str, Any]:
    """Predictions that equal the labels wherever MACE has put zeros for missing ones.

    Missing labels then add nothing to any base loss and its gradient; MACE's losses "huber" and
    "l1l2energyforces" ignore the weight 0 that it gives them (``mace/modules/loss.py``). Where
    all structures are labelled, nothing changes.

    Args:
        ref: MACE batch with the labels.
        pred: the model's output.
        properties: those that are compared.
        known: says which structures have a label.
    """
    compared = dict(pred)
    for name in properties:
        value = pred.get(name)
        if value is not None:
            chosen = known(ref, name)
            chosen = chosen[ref["batch"]] if name == "forces" else chosen
            chosen = chosen.reshape(chosen.shape + (1,) * (value.dim() - chosen.dim()))
            compared[name] = torch.where(chosen, value, ref[name])
    return compared


class PIWSLLoss(torch.nn.Module):
    """``base_loss``, + ``pool_weight`` times the same of the pool, + the weighted PIWSL terms.

    Penalties and the pool's predictions are found in the model's output, where
    :class:`~piwsl_plugins.mace.training.TrainingCalls` puts them in training. MACE's validation,
    model selection and error tables see neither, so there this is the base loss.

    Attributes:
        base_loss: the supervised loss.
        settings: all options, decided.
        terms: those that act in the present training step, set before each model call.
        factor: factor of their weights, from the schedule.
        eval_interval: every so many epochs the log reports.
        watch: what looks at validations, None if nothing does.
        pretrained: whether the model is one that was trained before.
        wandb: whether the numbers of an epoch go to Weights & Biases too.
        is_stage_two: whether this is the loss of MACE's stage two.
        log: of the training's steps.
    """

    def __init__(self, base_loss: torch.nn.Module, settings: MaceSettings) -> None:
        super().__init__()
        self.base_loss = base_loss
        self.settings = settings
        self.terms: Sequence[Term] = ()
        self.factor = 0.0
        self.eval_interval = 1
        self.watch: Any = None
        self.pretrained = self.wandb = self.is_stage_two = False
        self.log = TrainingLog(logging.info, logging.warning, prefix="--piwsl_")

    @property
    def is_on(self) -> bool:
        """Whether there is any PIWSL term, or a pool that is supervised."""
        return bool(weights_of(self.settings)) or self.supervises_pool

    @property
    def supervises_pool(self) -> bool:
        """Whether the pool's labels have a weight."""
        return self.settings.pool.pool_file is not None and self.settings.pool.pool_weight > 0.0

    @property
    def uses_forces(self) -> bool:
        """Whether the base loss needs forces."""
        return not isinstance(self.base_loss, EnergyLoss)

    @property
    def hessian_penalty(self) -> Penalty:
        """Errors of Hessian labels grow as those of forces do in the base loss."""
        if isinstance(self.base_loss, UniversalLoss | WeightedHuberEnergyForcesStressLoss):
            return Huber(self.base_loss.huber_delta)
        return Norms() if isinstance(self.base_loss, WeightedEnergyForcesL1L2Loss) else Squares()

    def weights(self, factor: float) -> dict[str, float]:
        """The weights of the terms times the schedule's factor."""
        return {name: factor * weight for name, weight in weights_of(self.settings).items()}

    def forward(self, ref, pred: dict[str, Any], ddp: bool | None = None) -> Tensor:
        """The loss of a batch, a scalar.

        Args:
            ref: MACE batch with the labels.
            pred: the model's output.
            ddp: as in MACE's losses: whether to reduce over ranks, by default if there are any.
        """
        losses = {"base": self.base_loss(ref=ref, pred=where_labelled(ref, pred), ddp=ddp)}
        if self.supervises_pool and POOL in pred:
            labels = pred[POOL_LABELS]
            known = where_labelled(labels, pred[POOL], _PROPERTIES, has_label)
            pool = self.base_loss(ref=labels, pred=known, ddp=ddp)
            losses["pool"] = self.settings.pool.pool_weight * pool
        weights = self.weights(self.factor)
        for term in self.terms:
            losses[term.name] = weights[term.name] * _mean(pred[f"piwsl_{term.name}"], ddp)
        if len(losses) > 1:
            error = (ref["energy"] - pred["energy"]).detach() / ref["ptr"].diff()
            error = error[has_label(ref, "energy")]
            self.log.add_step(self.terms, weights, losses, pred, error)
        loss, *others = losses.values()
        for other in others:
            loss = loss + other
        return loss

    def __repr__(self) -> str:
        weights = [f"{name}_weight={weight:g}" for name, weight in self.weights(1.0).items()]
        if self.supervises_pool:
            weights.append(f"pool_weight={self.settings.pool.pool_weight:g}")
        return f"{type(self).__name__}({', '.join([f'base_loss={self.base_loss}', *weights])})"


def _mean(values: Tensor, ddp: bool | None) -> Tensor:
    """Mean over the penalties of all ranks, times the world size over which DDP averages.

    As MACE's ``reduce_loss``, but a rank, or all of them, may have none here.
    """
    if not (is_ddp_enabled() if ddp is None else ddp and torch.distributed.is_initialized()):
        return values.sum() / max(values.numel(), 1)
    count = torch.tensor(float(values.numel()), device=values.device, dtype=values.dtype)
    torch.distributed.all_reduce(count)
    return values.sum() * torch.distributed.get_world_size() / count.clamp(min=1.0)


def build_loss(make: Callable[[], torch.nn.Module], arguments: dict[str, Any]) -> PIWSLLoss:
    """The loss of stage one; decides what depends on the base loss, and logs the settings.

    Args:
        make: MACE's ``get_loss_fn``, which is not asked for a loss on energies alone: for a name
            that it does not know it gives another loss.
        arguments: its arguments by name.
    """
    args = arguments["args"]
    energy = args.loss == ENERGY
    check_forces(args, args.loss)  # MACE may have replaced it
    weight = 100.0 * args.energy_weight if energy else args.forces_weight
    settings = settings_of(args).decided(not energy, weight)
    store(args, settings)
    logging.info("===========PIWSL===========")
    if args.loss != settings.mace.base_loss:
        logging.info(
            f"base_loss: {args.loss} (MACE replaced '{settings.mace.base_loss}', as it does for "
            "multihead fine-tuning)"
        )
    logging.info(f"PIWSL options: {', '.join(describe_options(settings))}")
    loss = PIWSLLoss(EnergyLoss(args.energy_weight) if energy else make(), settings)
    loss.pretrained = args.foundation_model is not None
    if not loss.is_on:
        logging.info("PIWSL: all weights are 0: this stage trains with the base loss alone")
    _log_penalty(loss)
    return loss


def _log_penalty(loss: PIWSLLoss) -> None:
    if loss.settings.hessian.hessian_weight and loss.uses_forces:
        logging.info(
            f"PIWSL: errors of Hessian labels times {HESSIAN_LENGTH:g} Å are penalised "
            f"{loss.hessian_penalty}, as errors of forces are by {type(loss.base_loss).__name__}"
        )


def build_stage_two(
    make: Callable[[], tuple[Any, list[bool]]], arguments: dict[str, Any]
) -> tuple[Any, list[bool]]:
    """MACE's stage two, its loss with stage two's PIWSL weights.

    Args:
        make: MACE's ``get_swa``. It knows no loss on energies alone; given its weighted loss
            without a weight on forces instead, it logs what is meant.
        arguments: its arguments by name.
    """
    args = arguments["args"]
    energy, forces_weight = args.loss == ENERGY, args.swa_forces_weight
    if energy:
        args.swa_forces_weight = 0.0
    try:
        swa, swas = make()
    finally:
        args.swa_forces_weight = forces_weight
    base_loss = EnergyLoss(args.swa_energy_weight) if energy else swa.loss_fn
    swa.loss_fn = PIWSLLoss(base_loss, settings_of(args).stage_two())
    swa.loss_fn.is_stage_two = True
    logging.info(f"PIWSL in stage two: {swa.loss_fn}")
    _log_penalty(swa.loss_fn)
    return swa, swas
