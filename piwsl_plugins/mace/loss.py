"""The loss that MACE's trainer sees: a supervised MACE loss plus the PIWSL terms."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from mace.modules.loss import is_ddp_enabled
from torch import Tensor

from ..core.auto_weight import AutoWeight
from ..core.penalty import penalty
from ..core.report import EpochStatistics, describe_first_step, dominance_warning
from ..core.schedule import weight_factor
from ..core.settings import AUTO, Settings, options
from ..core.softening import SofteningGuard
from .arguments import destination, settings_of
from .energy_loss import EnergyLoss
from .labels import has_energy, where_labelled

if TYPE_CHECKING:
    from .softening import ForceSlopeWatch

TERMS = ("pitc", "pisc")
#: the base loss that is ours
ENERGY = "energy"


class PIWSLLoss(torch.nn.Module):
    """``base_loss`` + w_PITC ℓ(PITC) + w_PISC ℓ(PISC), ℓ being a mean over structures.

    The residuals are found in the model's output, under ``piwsl_pitc`` and ``piwsl_pisc``,
    where :class:`~piwsl_plugins.mace.training.DisplacedEvaluation` puts them in training.
    MACE's validation, model selection and error tables evaluate no displaced structures, so
    there this is the base loss.

    Attributes:
        base_loss: the supervised loss.
        settings: all options.
        factor: factor of both weights in the present training step, from the schedule.
        step: number of that optimiser step, from 0.
        parameters_of_model: the model's, set while it is trained; for an "auto" weight.
        auto: finds the PITC weight if it is "auto", else None.
        guard: the softening guard; it may lower the weights.
        watch: what shows it the forces of validations, None if it is off.
        evaluated_stages: in stage two's loss, MACE's list of the stages evaluated at the end.
        statistics: means over the epoch, for the log.
    """

    def __init__(self, base_loss: torch.nn.Module, settings: Settings) -> None:
        super().__init__()
        self.base_loss = base_loss
        self.settings = settings
        self.factor = 0.0
        self.step = 0
        self.parameters_of_model: list[torch.nn.Parameter] = []
        self.auto = AutoWeight(settings) if settings.pitc_weight == AUTO else None
        self.guard = SofteningGuard(settings, prefix="--piwsl_")
        self.watch: ForceSlopeWatch | None = None
        self.evaluated_stages: list[bool] = []
        self.statistics = EpochStatistics()
        self._reported = False
        self._warned = False

    @property
    def is_on(self) -> bool:
        """Whether any PIWSL term has a weight."""
        return any(self.settings.uses(term) for term in TERMS)

    def weight(self, term: str) -> float:
        """The weight of "pitc" or "pisc" now, without the schedule's factor."""
        if term == "pitc" and self.auto is not None:
            return self.guard.factor * self.auto.weight
        return self.guard.factor * getattr(self.settings, f"{term}_weight")

    def follow(self, earlier: PIWSLLoss) -> None:
        """Go on as stage two: with the guard of stage one, and the "auto" weight it had found."""
        self.guard = earlier.guard
        if self.auto is not None and earlier.auto is not None:
            self.auto = earlier.auto

    def forward(self, ref, pred: dict[str, Tensor], ddp: bool | None = None) -> Tensor:
        """The loss of a batch, a scalar.

        Args:
            ref: MACE batch with the labels.
            pred: the model's output.
            ddp: as in MACE's losses: whether to reduce over ranks, by default if there are any.

        Raises:
            RuntimeError: in training, if the displaced structures have not been evaluated.
        """
        loss = self.base_loss(ref=ref, pred=where_labelled(ref, pred), ddp=ddp)
        if self.factor == 0.0:
            return loss
        if "piwsl_n_atoms" not in pred:
            raise RuntimeError(
                "the PIWSL loss is used in training, but the model's output holds no evaluation of "
                "displaced structures; train with mace_run_train, whose train_one_epoch attaches it"
            )
        energy_error = (ref["energy"] - pred["energy"]) / ref["ptr"].diff()
        self.statistics.add_base(loss, energy_error[has_energy(ref)])
        base_loss = loss
        for term in TERMS:
            if self.settings.uses(term):
                values = penalty(self.settings, pred[f"piwsl_{term}"], pred["piwsl_n_atoms"])
                values = values.mean(dim=0) * pred["piwsl_weight"]
                unweighted = _mean(values, ddp)
                if term == "pitc" and self.auto is not None and self.auto.due(self.step):
                    self._adjust(self.auto, base_loss, unweighted)
                weighted = self.weight(term) * self.factor * unweighted
                self.statistics.add_term(
                    term, weighted, pred[f"piwsl_{term}"], pred["piwsl_n_atoms"]
                )
                loss = loss + weighted
        if not self._reported:
            self._report_first_step()
        return loss

    def _adjust(self, auto: AutoWeight, base_loss: Tensor, term: Tensor) -> None:
        """Find the "auto" weight anew; a rank without structures for the term takes part."""
        if not term.requires_grad:
            term = 0.0 * base_loss
        before = auto.weight
        weight = auto.update(self.step, base_loss, term, self.parameters_of_model)
        if weight != before:
            logging.info(
                f"PIWSL: step {self.step}: pitc_weight={weight:.4e}, with which the PITC gradient "
                f"is {self.settings.auto_gradient_ratio:g} of the supervised one"
            )

    def weights_at(self, epoch: int) -> dict[str, float]:
        """The weights in force in an epoch, by term."""
        factor = weight_factor(self.settings, epoch, step=0)
        return {term: factor * self.weight(term) for term in TERMS}

    def _report_first_step(self) -> None:
        self._reported = True
        means = self.statistics.means()
        logging.info(f"PIWSL: first training step: {describe_first_step(means)}")
        self.warn(means, self.factor * self.weight("pitc"))

    def warn(self, means: dict[str, float], pitc_weight: float) -> None:
        """Warn, once, if the PITC term can flatten the potential, as one with target 0 can."""
        if self._warned or self.auto is not None or self.settings.pitc_target != "zero":
            return
        warning = dominance_warning(means, pitc_weight, prefix="--piwsl_")
        if warning:
            self._warned = True
            logging.warning(warning)

    def __repr__(self) -> str:
        given = {term: getattr(self.settings, f"{term}_weight") for term in TERMS}
        weights = ", ".join(
            f"{term}_weight={weight if weight == AUTO else f'{weight:g}'}"
            for term, weight in given.items()
        )
        return f"{type(self).__name__}(base_loss={self.base_loss}, {weights})"


def _mean(values: Tensor, ddp: bool | None) -> Tensor:
    """Mean over the structures of all ranks, times the world size over which DDP averages.

    As MACE's ``reduce_loss``, but a rank, or all of them, may have no structure here.
    """
    if not (is_ddp_enabled() if ddp is None else ddp and torch.distributed.is_initialized()):
        return values.sum() / max(values.numel(), 1)
    count = torch.tensor(float(values.numel()), device=values.device, dtype=values.dtype)
    torch.distributed.all_reduce(count)
    return values.sum() * torch.distributed.get_world_size() / count.clamp(min=1.0)


def build_loss(args: Namespace, make_base_loss: Callable[[], torch.nn.Module]) -> PIWSLLoss:
    """The loss of stage one; decides ``pitc_form`` and logs every setting.

    Args:
        args: MACE's arguments; the decided form is stored in them.
        make_base_loss: MACE's ``get_loss_fn``, which is not asked for a loss on energies alone:
            for a name that it does not know it gives another loss.
    """
    settings = settings_of(args).with_form(base_uses_forces=args.loss != ENERGY)
    setattr(args, destination("pitc_form"), settings.pitc_form)
    logging.info("===========PIWSL===========")
    logging.info(
        "Physics-informed weakly supervised learning (arXiv 2408.05215): the terms below are added "
        "to the base loss in training; validation, model selection and error tables use the base "
        "loss alone"
    )
    if args.loss != settings.base_loss:
        logging.info(
            f"base_loss: {args.loss} (MACE replaced '{settings.base_loss}', as it does for "
            "multihead fine-tuning)"
        )
    for name, option in options("mace").items():
        value = getattr(settings, name)
        if value is not None and not (name == "base_loss" and args.loss != value):
            unit = f" {option.unit}" if option.unit else ""
            shown = ",".join(value) if isinstance(value, tuple) else value
            logging.info(f"{name}: {shown}{unit} (--{destination(name)})")
    energy = args.loss == ENERGY
    loss = PIWSLLoss(EnergyLoss(args.energy_weight) if energy else make_base_loss(), settings)
    if not loss.is_on:
        logging.info("Both PIWSL weights are 0: this stage trains with the base loss alone")
    return loss


def build_stage_two(
    args: Namespace, make_stage_two: Callable[[], tuple[Any, list[bool]]]
) -> tuple[Any, list[bool]]:
    """MACE's stage two, its loss with stage two's PIWSL weights.

    Args:
        args: MACE's arguments.
        make_stage_two: MACE's ``get_swa``. It knows no loss on energies alone; given its
            weighted loss without a weight on forces instead, it logs what is meant.
    """
    forces_weight = args.swa_forces_weight
    if args.loss == ENERGY:
        args.swa_forces_weight = 0.0
    try:
        swa, swas = make_stage_two()
    finally:
        args.swa_forces_weight = forces_weight
    base_loss = EnergyLoss(args.swa_energy_weight) if args.loss == ENERGY else swa.loss_fn
    swa.loss_fn = PIWSLLoss(base_loss, settings_of(args).stage_two())
    swa.loss_fn.evaluated_stages = swas
    logging.info(f"Stage Two keeps the PIWSL terms: {swa.loss_fn}")
    return swa, swas
