"""The loss that NequIP's training modules see: stock terms plus PIWSL's, and the pool's loss."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from nequip.data import AtomicDataDict, PerAtomModifier
from nequip.train import MeanSquaredError, MetricsManager
from nequip.train.metrics_manager import MetricEntry
from nequip.utils import RankedLogger
from torch import Tensor

from ..errors import SettingsError
from ..terms.found import KEY, POOL, Found
from ..terms.term_table import supervises_pool, weights_of
from ..terms.training import Training
from .config import DEFAULT_COEFFS, check_coeffs, installation_problem
from .metrics import PoolError, TermMean, energy_error, field_of
from .settings import NequIPSettings

logger = RankedLogger(__name__, rank_zero_only=True)

#: fields for which a model needs no derivatives
_ENERGIES = (AtomicDataDict.TOTAL_ENERGY_KEY, AtomicDataDict.PER_ATOM_ENERGY_KEY)


class PIWSLLoss(MetricsManager):
    """NequIP's supervised losses plus PITC and PISC (arXiv 2408.05215), Hessian labels, a pool.

    In a config:

    .. code-block:: yaml

        training_module:
          _target_: nequip.train.EMALightningModule
          loss:
            _target_: piwsl_plugins.nequip.PIWSLLoss
            coeffs:              # as in nequip.train.EnergyForceLoss, EnergyForceStressLoss
              total_energy: 1.0  # leave out forces and stress if you have no such labels
              forces: 1.0
            pitc_weight: 0.001    # relative to these coefficients, as you wrote them
            max_displacement: 0.05

    NequIP normalises coefficients to a sum of one. Here the supervised ones are, so that the
    supervised part is the stock loss exactly, and a PIWSL weight is divided by the same sum:
    ``coeffs: {total_energy: 1, forces: 3}`` and ``pitc_weight: 0.4`` give 0.25, 0.75 and 0.1.
    The loss of the pool is the supervised one with the same coefficients, so that ``pool_weight:
    1`` gives it the coefficient 1. Components are logged as ``per_atom_energy_mse`` (or
    ``total_energy_mse``), ``forces_mse``, ``stress_mse``, ``pool``, and the names of the terms
    (``pitc``, ``pisc``, ``hessian``). A term of weight 0 is not there at all.

    Args:
        coeffs: coefficients of ``total_energy``, ``forces``, ``stress``; the terms are those
            named. Default: energy and forces, 1 each.
        per_atom_energy: as in ``EnergyForceLoss``.
        per_type_forces_coeffs: as in ``EnergyForceLoss``.
        ignore_nan: as in ``EnergyForceStressLoss``.
        metrics: a list as ``MetricsManager`` takes it, in place of ``coeffs``, for any other
            supervised loss.
        extra_metrics: further entries, as in ``EnergyForceLoss``.
        type_names: given by NequIP.
        options: every option of :class:`piwsl_plugins.nequip.settings.NequIPSettings`.

    Attributes:
        settings: all options, with those decided that depend on the supervised terms.
        base_uses_forces: whether the supervised terms need more than energies.
        engine: the training by this loss, while it is attached to the model.
        sum_of_coeffs: of the supervised terms as given, by which all weights are divided.

    Raises:
        SettingsError: naming the option, the value and the remedy.
    """

    def __init__(
        self,
        coeffs: Mapping[str, float] | None = None,
        per_atom_energy: bool = True,
        per_type_forces_coeffs: Mapping[str, float] | None = None,
        ignore_nan: Mapping[str, bool] | None = None,
        metrics: Sequence[Mapping[str, Any]] | None = None,
        extra_metrics: Sequence[Mapping[str, Any]] | None = None,
        type_names: list[str] | None = None,
        **options: Any,
    ) -> None:
        problem = installation_problem()
        if problem:
            raise RuntimeError(problem)
        check_coeffs({"coeffs": coeffs, "metrics": metrics, "extra_metrics": extra_metrics})
        settings = NequIPSettings.create(options)
        if metrics is None:
            metrics = _stock_terms(
                DEFAULT_COEFFS if coeffs is None else coeffs,
                per_atom_energy,
                per_type_forces_coeffs,
                ignore_nan or {},
            )
        entries = [*map(dict, metrics), *map(dict, extra_metrics or ())]
        given = [(field_of(entry.get("field")), entry.get("coeff") or 0.0) for entry in entries]
        self.sum_of_coeffs = sum(coeff for _, coeff in given)
        self.base_uses_forces = any(field not in _ENERGIES for field, _ in given)
        of_forces = sum(coeff for field, coeff in given if field == AtomicDataDict.FORCE_KEY)
        of_energy = sum(coeff for field, coeff in given if field in _ENERGIES)
        self.settings = settings.decided(self.base_uses_forces, of_forces or 100.0 * of_energy)
        self._terms = weights_of(self.settings)
        apart = copy.deepcopy(entries) if self.settings.is_adversarial else []
        terms = [
            {"name": term, "coeff": weight, "metric": TermMean(term)}
            for term, weight in self._terms.items()
        ]
        super().__init__([*entries, *terms], type_names)
        # in a list, so that it is no metric of this loss, and in no checkpoint
        self._apart = [MetricsManager(apart, type_names)] if apart else []
        self.engine: Training | None = None
        self._factor_sum, self._n_steps = 0.0, 0
        if supervises_pool(self.settings):
            weight = self.settings.pool.pool_weight
            self[POOL] = PoolError(self, self.supervised)
            self.entries[POOL] = MetricEntry(None, weight, False, False, None)
            self._coeffs[POOL] = weight

    @property
    def supervised(self) -> list[str]:
        """Names of the supervised terms."""
        return [n for n in self.entries if not isinstance(self[n], (TermMean, PoolError))]

    @property
    def is_on(self) -> bool:
        """Whether any PIWSL term, or the pool, has a weight."""
        return bool(self._terms) or POOL in self.entries

    def weights(self) -> dict[str, float]:
        """The present coefficients of terms and pool, without the schedule's factor.

        They follow the options until a callback such as ``LossCoefficientScheduler`` changes them;
        what has no coefficient is left out.
        """
        names = (*self._terms, POOL)
        return {name: coeff for name in names if (coeff := self._coeffs.get(name))}

    def begin(self, training: Training) -> None:
        """Take part in a training: what it finds is in the model's output from now on."""
        self.engine = training

    def end(self) -> None:
        """The training is over."""
        self.engine = None

    @property
    def unweighted(self) -> list[str]:
        """Names of supervised terms that keep the pool's structures from having weights."""
        return self[POOL].unweighted if POOL in self.entries else []

    def set_coeffs(self, coeff_dict: Mapping[str, float | None]) -> None:
        """Set all coefficients; they are divided by the sum of the supervised ones.

        That of the pool, too, which is therefore ``pool_weight`` times this sum. As in NequIP, a
        term that is not named gets none, and is then not evaluated.

        Raises:
            SettingsError: for a coefficient of a PIWSL term of weight 0, or if no supervised
                term has one.
        """
        options = NequIPSettings.options()
        for term, coeff in coeff_dict.items():
            if coeff and term not in self.entries and f"{term}_weight" in options:
                raise SettingsError(
                    f"{term}_weight",
                    0,
                    f"a coefficient of '{term}' is to be set, but a term of weight 0 does not "
                    f"exist; give '{term}_weight' a value above 0",
                )
        total = sum(coeff_dict.get(name) or 0.0 for name in self.supervised)
        if not total > 0:
            raise SettingsError(
                "coeffs", dict(coeff_dict), "at least one supervised term needs one above 0"
            )
        self._warn_of_terms_left_out(coeff_dict)
        self.do_weighted_sum = True
        for name, entry in self.entries.items():
            coeff = coeff_dict.get(name)
            entry.coeff = None if coeff is None else coeff / total
        self._coeffs = {name: entry.coeff for name, entry in self.entries.items()}

    def _warn_of_terms_left_out(self, coeff_dict: Mapping[str, float | None]) -> None:
        before = getattr(self, "_coeffs", {})
        ours = [name for name in self.entries if name not in self.supervised]
        left_out = [name for name in ours if before.get(name) and name not in coeff_dict]
        if left_out:
            logger.warning(
                f"PIWSL: a callback sets the coefficients of {', '.join(coeff_dict)}, and leaves "
                f"out {', '.join(left_out)}: from now on training does without; to keep them, name "
                "them beside the others"
            )

    def _scale_terms(self, factor: float) -> None:
        """Let the coefficients of the PIWSL terms be the present ones times ``factor``.

        Until :meth:`end_step`: NequIP's ``ConFIGLightningModule`` reads them after the loss.
        """
        for term in self._terms:
            coeff = self._coeffs[term]
            self.entries[term].coeff = None if not (coeff and factor) else coeff * factor

    def end_step(self) -> None:
        """Give the coefficients back as they were set, for callbacks and checkpoints."""
        for name, entry in self.entries.items():
            entry.coeff = self._coeffs[name]

    def forward(
        self,
        preds: AtomicDataDict.Type,
        target: AtomicDataDict.Type,
        prefix: str = "",
        suffix: str = "",
    ) -> dict[str, Tensor]:
        """The terms and their weighted sum, as ``MetricsManager`` gives them.

        Raises:
            RuntimeError: if nothing is attached to the model.
        """
        values: dict[str, Tensor]
        if not self.is_on:
            values = super().forward(preds, target, prefix, suffix)
            return values
        if self.engine is None:
            raise RuntimeError(
                "the PIWSL loss is used, but no displaced structures are evaluated. It is a loss "
                "for training: use a stock MetricsManager for validation and tests. In training, "
                "the callback piwsl_plugins.nequip.training.PIWSLCallback attaches the "
                "evaluation; Lightning finds it by itself if piwsl-plugins is installed in this "
                "environment (pip install 'piwsl-plugins[nequip]'); otherwise add it to "
                "trainer.callbacks"
            )
        found: Found = preds.get(KEY) or Found(preds)
        self._scale_terms(found.factor)
        self._factor_sum += found.factor
        self._n_steps += 1
        values = super().forward(preds, target, prefix, suffix)
        if found.weights:
            named = {name: values[f"{prefix}{name}{suffix}"] for name in self.entries}
            losses = {name: w * named[name].detach() for name, w in found.weights.items()}
            losses["base"] = self._supervised_sum(named)
            self.engine.log.add_step(found, losses, energy_error(preds, target))
        return values

    def _supervised_sum(self, values: Mapping[str, Tensor]) -> Tensor:
        """The supervised loss; a part of which the batch has no label (NaN) does not count.

        It is NaN if no part has one.
        """
        weighted = [(self.entries[name].coeff, values[name]) for name in self.supervised]
        parts = torch.stack([coeff * value.detach() for coeff, value in weighted if coeff])
        nothing = parts.isnan().all()
        return torch.where(nothing, torch.nan, parts.nansum())

    def supervised_loss(self, preds: AtomicDataDict.Type, target: AtomicDataDict.Type) -> Tensor:
        """The supervised terms' weighted sum for a batch, a scalar, at the present coefficients.

        By metrics of its own: those of the training are not told, and log nothing.
        """
        (stock,) = self._apart
        stock.to(preds[AtomicDataDict.TOTAL_ENERGY_KEY].device)
        for name, metric in stock.items():
            stock.entries[name].coeff = self._coeffs[name]
            # set for the metrics of the loss by NequIP's training module
            metric.dist_sync_on_step = getattr(self[name], "dist_sync_on_step", False)
        total: Tensor = stock(preds, target)["weighted_sum"]
        stock.reset()
        return total

    def compute(self, prefix: str = "", suffix: str = "") -> dict[str, Tensor]:
        """The epoch's means; the weighted sum has the mean of the schedule's factor."""
        if self._n_steps:
            self._scale_terms(self._factor_sum / self._n_steps)
        means: dict[str, Tensor] = super().compute(prefix, suffix)
        self.end_step()
        return means

    def reset(self) -> None:
        """Start a new epoch."""
        super().reset()
        self._factor_sum, self._n_steps = 0.0, 0

    def get_extra_state(self) -> dict[str, Any]:
        """The state for checkpoints, with the coefficients as they were set."""
        return {**super().get_extra_state(), "coeff_dict": dict(self._coeffs)}


def uses_forces(metrics: MetricsManager) -> bool:
    """Whether metrics read anything of a model's output beyond energies."""
    return any(field_of(entry.field) not in _ENERGIES for entry in metrics.entries.values())


def _stock_terms(
    coeffs: Mapping[str, float | None],
    per_atom_energy: bool,
    per_type_forces_coeffs: Mapping[str, float] | None,
    ignore_nan: Mapping[str, bool],
) -> list[dict[str, Any]]:
    """The entries of ``EnergyForceStressLoss`` for the fields that have a coefficient."""
    terms = []
    for field in ("total_energy", "forces", "stress"):
        if field not in coeffs:
            continue
        per_atom = field == "total_energy" and per_atom_energy
        name = "per_atom_energy" if per_atom else field
        terms.append(
            {
                "name": f"{name}_mse",
                "field": PerAtomModifier(field) if per_atom else field,
                "coeff": coeffs[field],
                "metric": MeanSquaredError(),
                "ignore_nan": ignore_nan.get(field, False),
            }
        )
        if field == "forces" and per_type_forces_coeffs is not None:
            terms[-1].update(per_type=True, per_type_coeffs=per_type_forces_coeffs)
    return terms
