"""The loss that MACE's trainer sees: a supervised MACE loss, the pool's and the PIWSL terms."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
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

from ..terms.found import KEY, POOL, Found
from ..terms.hessian_terms import HESSIAN_LENGTH
from ..terms.penalties import Huber, Norms, Penalty, Squares, mean_penalty
from ..terms.term_table import acts, supervises_pool, weights_of
from ..terms.training import Training, mean_over_ranks
from ..terms.training_log import TrainingLog, describe_options
from ..terms.validation import ValidationWatch
from .arguments import ENERGY, MaceSettings, check_forces, flag, settings_of, store
from .companions import Companions
from .missing_labels import has_label, where_labelled
from .reporting import Reporting


class EnergyLoss(torch.nn.Module):
    """Mean over structures of the squared error of the energy per atom, in eV².

    The energy part of MACE's weighted loss, with the same weights: ``energy_weight`` of the
    run, and ``weight`` and ``energy_weight`` of each structure (0 without an energy label).
    Forces are neither looked at nor needed in the model's output. MACE itself has no such loss.
    """

    energy_weight: Tensor

    def __init__(self, energy_weight: float = 1.0) -> None:
        super().__init__()
        weight = torch.tensor(energy_weight, dtype=torch.get_default_dtype())
        self.register_buffer("energy_weight", weight)

    def forward(self, ref: Any, pred: dict[str, Tensor], ddp: bool | None = None) -> Tensor:
        """The loss of a batch, a scalar; arguments as in MACE's losses."""
        error: Tensor = weighted_mean_squared_error_energy(ref, pred, ddp)
        return self.energy_weight * error

    def __repr__(self) -> str:
        return f"{type(self).__name__}(energy_weight={self.energy_weight:.3f})"


class PIWSLLoss(torch.nn.Module):
    """``base_loss``, + ``pool_weight`` times the same of the pool, + the weighted PIWSL terms.

    Penalties and the pool's predictions are those that the training finds in its step, and leaves
    in the model's output (:class:`~piwsl_plugins.terms.found.Found`). MACE's validation, model
    selection and error tables see neither, so there this is the base loss.

    Attributes:
        base_loss: the supervised loss.
        settings: all options, decided.
        pretrained: whether the model is one that was trained before.
        engine: the training by this loss, once it has begun.
        reporting: where the run reports, inside MACE's ``train``.
    """

    def __init__(
        self,
        base_loss: torch.nn.Module,
        settings: MaceSettings,
        pretrained: bool = False,
        stage_two: bool = False,
    ) -> None:
        """
        Args:
            base_loss: the supervised loss.
            settings: decided.
            pretrained: whether the model is one that was trained before.
            stage_two: whether this is the loss of MACE's stage two.
        """
        super().__init__()
        self.base_loss = base_loss
        self.settings = settings
        self.pretrained = pretrained
        self.engine: Training | None = None
        self.reporting: Reporting | None = None
        self._option = partial(flag, stage_two=stage_two)
        self._companions: Companions | None = None

    def begin(
        self,
        companions: Companions,
        watch: ValidationWatch | None = None,
        reporting: Reporting | None = None,
    ) -> Training:
        """Begin the training by this loss.

        Args:
            companions: what goes with the training data.
            watch: what is looked at in validations, if anything is.
            reporting: where the run reports.
        """
        log = TrainingLog(logging.info, logging.warning, self._option)
        self.engine = Training(
            self.settings,
            companions.labels,
            companions.pool,
            penalty=self.hessian_penalty,
            log=log,
            watch=watch,
        )
        self._companions, self.reporting = companions, reporting
        return self.engine

    def goes_on(self, companions: Companions) -> Training:
        """The training by this loss; begun where nobody has, as without MACE's ``train``."""
        if self.engine is None or self._companions is not companions:
            return self.begin(companions)
        return self.engine

    @property
    def watched(self) -> tuple[Training, Reporting] | None:
        """The training whose validations are looked at, and where it reports; None if none is."""
        if self.engine is None or self.engine.watch is None or self.reporting is None:
            return None
        return self.engine, self.reporting

    def end(self) -> None:
        """End the training by this loss."""
        self.engine = self.reporting = self._companions = None

    @property
    def is_on(self) -> bool:
        """Whether there is any PIWSL term, or a pool that is supervised."""
        return acts(self.settings)

    @property
    def supervises_pool(self) -> bool:
        """Whether the pool's labels have a weight."""
        return supervises_pool(self.settings)

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

    def supervised(self, ref: Any, pred: dict[str, Any], ddp: bool | None = None) -> Tensor:
        """The base loss of a batch, a scalar; arguments as of :meth:`forward`."""
        base: Tensor = self.base_loss(ref=ref, pred=where_labelled(ref, pred), ddp=ddp)
        return base

    def forward(self, ref: Any, pred: dict[str, Any], ddp: bool | None = None) -> Tensor:
        """The loss of a batch, a scalar.

        Args:
            ref: MACE batch with the labels.
            pred: the model's output.
            ddp: as in MACE's losses: whether to reduce over ranks, by default if there are any.
        """
        base = self.supervised(ref, pred, ddp)
        found: Found | None = pred.get(KEY)
        if found is None or not found.weights:
            return base
        pool = None
        if POOL in found.weights:
            labels = found.pool_labels
            known = where_labelled(labels, found.pool, has_label)
            pool = self.base_loss(ref=labels, pred=known, ddp=ddp)
        error = (ref["energy"] - pred["energy"]).detach() / ref["ptr"].diff()
        error = error[has_label(ref, "energy")]
        assert self.engine is not None  # which has found it
        mean = mean_over_ranks if _reduces(ddp) else mean_penalty
        return self.engine.loss(found, base, pool, error, mean)

    def __repr__(self) -> str:
        weights = [
            f"{name}_weight={weight:g}" for name, weight in weights_of(self.settings).items()
        ]
        if self.supervises_pool:
            weights.append(f"pool_weight={self.settings.pool.pool_weight:g}")
        return f"{type(self).__name__}({', '.join([f'base_loss={self.base_loss}', *weights])})"


def _reduces(ddp: bool | None) -> bool:
    """Whether a loss is one over all ranks, as in MACE's ``reduce_loss`` (mace/modules/loss.py)."""
    several: bool = is_ddp_enabled()
    return several if ddp is None else ddp and torch.distributed.is_initialized()


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
    base_loss = EnergyLoss(args.energy_weight) if energy else make()
    loss = PIWSLLoss(base_loss, settings, pretrained=args.foundation_model is not None)
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
    swa.loss_fn = PIWSLLoss(base_loss, settings_of(args).stage_two(), stage_two=True)
    logging.info(f"PIWSL in stage two: {swa.loss_fn}")
    _log_penalty(swa.loss_fn)
    return swa, swas
