"""The loss that NequIP's training modules see: stock terms plus ``pitc`` and ``pisc``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from nequip.data import AtomicDataDict, PerAtomModifier
from nequip.train import MeanSquaredError, MetricsManager
from torch import Tensor
from torchmetrics import Metric

from ..core.auto_weight import AutoWeight
from ..core.penalty import penalty
from ..core.settings import AUTO, Settings, SettingsError
from ..core.softening import SofteningGuard
from .config import DEFAULT_COEFFS, check_coeffs, installation_problem, settings_from

TERMS = ("pitc", "pisc")
#: fields for which a model needs no derivatives
_ENERGIES = (AtomicDataDict.TOTAL_ENERGY_KEY, AtomicDataDict.PER_ATOM_ENERGY_KEY)

Observer = Callable[[dict[str, Tensor], AtomicDataDict.Type, AtomicDataDict.Type], None]


class ConsistencyPenalty(Metric):
    """Mean over frames of the penalty of a residual, in the form of NequIP's loss terms.

    Sums and counts are reduced over ranks, so that it is the mean over the frames of all
    ranks, however many each of them holds. It is 0 where no frame carries the term.

    Args:
        term: "pitc" or "pisc".
        settings: ``metric``, ``normalization`` and ``huber_delta`` are used.
    """

    def __init__(self, term: str, settings: Settings, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.term = term
        self.settings = settings
        for state in ("sum", "count"):
            self.add_state(state, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, preds: AtomicDataDict.Type, target: AtomicDataDict.Type) -> None:
        """Add a batch.

        Args:
            preds: the model's output; the residual under ``piwsl_<term>``,
                ``(n_paths, n_frames)`` in eV, and the frames' sizes under ``piwsl_n_atoms``.
            target: not used.
        """
        if f"piwsl_{self.term}" not in preds:
            return
        values = penalty(self.settings, preds[f"piwsl_{self.term}"], preds["piwsl_n_atoms"])
        # the second term keeps a gradient, 0, on a rank without such frames
        self.sum = self.sum + values.mean(dim=0).sum() + 0.0 * preds["total_energy"].sum()
        self.count = self.count + values.shape[-1]

    def compute(self) -> Tensor:
        """The mean, a scalar: eV² ("mse") or eV ("mae"), per atom as ``normalization`` says."""
        return self.sum / self.count.clamp(min=1.0)

    def __str__(self) -> str:
        return self.term


class PIWSLLoss(MetricsManager):
    """NequIP's supervised losses plus PITC and PISC (arXiv 2408.05215).

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
    Components are logged as ``per_atom_energy_mse`` (or ``total_energy_mse``), ``forces_mse``,
    ``stress_mse``, ``pitc`` and ``pisc``. A term of weight 0 is not there at all.

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
        options: every option of :class:`piwsl_plugins.core.settings.Settings` for NequIP.

    Attributes:
        settings: all options, with the form of PITC decided.
        base_uses_forces: whether the supervised terms need more than energies.
        factor: factor of the PIWSL weights in the present training step, from the schedule;
            None as long as no displaced evaluation is attached to the model.
        step: the present optimiser step.
        trained: parameters of the model, for ``pitc_weight: auto``.
        auto: keeps the weight, for ``pitc_weight: auto``; else None.
        guard: judges the force slope on validation data.
        observers: called after each training step with PIWSL terms, with the values of all
            terms by name, the model's output and the target.
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
        check_coeffs({"coeffs": coeffs, "metrics": metrics})
        settings = settings_from(options)
        if metrics is None:
            metrics = _stock_terms(
                DEFAULT_COEFFS if coeffs is None else coeffs,
                per_atom_energy,
                per_type_forces_coeffs,
                ignore_nan or {},
            )
        terms = [
            {
                "name": term,
                "coeff": 0.0 if weight == AUTO else weight,
                "metric": ConsistencyPenalty(term, settings),
            }
            for term, weight in _weights(settings).items()
        ]
        entries = [*map(dict, metrics), *map(dict, extra_metrics or ()), *terms]
        super().__init__(entries, type_names)
        self.base_uses_forces = uses_forces(self, leave_out=TERMS)
        self.settings = settings.with_form(self.base_uses_forces)
        self.auto = AutoWeight(settings) if settings.pitc_weight == AUTO else None
        self.guard = SofteningGuard(settings)
        self.factor: float | None = None
        self.step = 0
        self.trained: list[Tensor] = []
        self.observers: list[Observer] = []
        self.sum_of_coeffs = sum(
            entry["coeff"] or 0.0
            for entry in entries[: len(entries) - len(terms)]
            if "coeff" in entry
        )
        self._factor_sum, self._n_steps = 0.0, 0

    @property
    def is_on(self) -> bool:
        """Whether any PIWSL term has a weight."""
        return bool(_weights(self.settings))

    def weights(self) -> dict[str, float]:
        """The present coefficients of the terms, without the schedule's factor.

        They follow ``pitc_weight`` and ``pisc_weight`` until a callback such as
        ``LossCoefficientScheduler`` changes them; a term without a coefficient is left out, but
        not PITC with ``pitc_weight: auto``, whose coefficient is 0 until it is found.
        """
        return {
            term: self._coeffs[term] or 0.0
            for term in TERMS
            if self._coeffs.get(term) or self._is_auto(term)
        }

    def _is_auto(self, term: str) -> bool:
        return term == "pitc" and self.auto is not None

    def active_settings(self) -> Settings:
        """The settings with the present weights, which say what has to be evaluated."""
        weights: dict[str, Any] = self.weights()
        if self.auto is not None:
            weights["pitc"] = AUTO
        return dataclasses.replace(
            self.settings, **{f"{term}_weight": weights.get(term, 0.0) for term in TERMS}
        )

    def set_coeffs(self, coeff_dict: Mapping[str, float | None]) -> None:
        """Set all coefficients; they are divided by the sum of the supervised ones.

        As in NequIP, a term that is not named gets none, and is then not evaluated.

        Raises:
            SettingsError: for a coefficient of a PIWSL term of weight 0, or if no supervised
                term has one.
        """
        for term in TERMS:
            if coeff_dict.get(term) and term not in self.entries:
                raise SettingsError(
                    f"{term}_weight",
                    0,
                    f"a coefficient of '{term}' is to be set, but a term of weight 0 does not "
                    f"exist; give '{term}_weight' a value above 0",
                )
        supervised = [
            coeff_dict[name]
            for name in self.entries
            if name not in TERMS and coeff_dict.get(name) is not None
        ]
        total = sum(supervised)
        if not total > 0:
            raise SettingsError(
                "coeffs", dict(coeff_dict), "at least one supervised term needs one above 0"
            )
        self.do_weighted_sum = True
        for name, entry in self.entries.items():
            coeff = coeff_dict.get(name)
            entry.coeff = None if coeff is None else coeff / total
        self._coeffs = {name: entry.coeff for name, entry in self.entries.items()}

    def _scale_terms(self, factor: float) -> None:
        """Let the coefficients of the PIWSL terms be the present ones times ``factor``."""
        for term in TERMS:
            if term in self.entries:
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
            RuntimeError: if no displaced evaluation is attached to the model.
        """
        if self.is_on:
            if self.factor is None:
                raise RuntimeError(
                    "the PIWSL loss is used, but no displaced frames are evaluated. It is a loss "
                    "for training: use a stock MetricsManager for validation and tests. In "
                    "training, the callback piwsl_plugins.nequip.callback.PIWSLCallback attaches "
                    "the evaluation; Lightning finds it by itself if piwsl-plugins is installed "
                    "in this environment (pip install 'piwsl-plugins[nequip]'); otherwise add it "
                    "to trainer.callbacks"
                )
            self._scale_terms(self.factor)
            self._factor_sum += self.factor
            self._n_steps += 1
        values = super().forward(preds, target, prefix, suffix)
        if self.factor and self.auto is not None and self.auto.due(self.step):
            self._adjust(values, prefix, suffix)
        if self.factor:
            named = {
                name: values[f"{prefix}{name}{suffix}"] for name in (*self.entries, "weighted_sum")
            }
            for observe in self.observers:
                observe(named, preds, target)
        return values

    def _adjust(self, values: dict[str, Tensor], prefix: str, suffix: str) -> None:
        """Find the coefficient of PITC from this step's gradients, and use it in this step.

        A step in which no frame of any rank carries the term says nothing; the next one does.
        """
        assert self.auto is not None and self.factor is not None
        named = {name: values[f"{prefix}{name}{suffix}"] for name in self.entries}
        if not named["pitc"] > 0.0:
            return
        weighted = {
            name: entry.coeff * named[name]
            for name, entry in self.entries.items()
            if entry.coeff is not None
        }
        base = sum(value for name, value in weighted.items() if name not in TERMS)
        self._coeffs["pitc"] = self.auto.update(self.step, base, named["pitc"], self.trained)
        self._scale_terms(self.factor)
        terms = [(self.entries[term].coeff, named[term]) for term in TERMS if term in named]
        values[f"{prefix}weighted_sum{suffix}"] = base + sum(
            coeff * value for coeff, value in terms if coeff is not None
        )

    def compute(self, prefix: str = "", suffix: str = "") -> dict[str, Tensor]:
        """The epoch's means; the weighted sum has the mean of the schedule's factor."""
        if self._n_steps:
            self._scale_terms(self._factor_sum / self._n_steps)
        means = super().compute(prefix, suffix)
        self.end_step()
        return means

    def reset(self) -> None:
        """Start a new epoch."""
        super().reset()
        self._factor_sum, self._n_steps = 0.0, 0

    def get_extra_state(self) -> dict[str, Any]:
        """The state for checkpoints, with the coefficients as they were set."""
        ours = {"softening": self.guard.state_dict()} if self.is_on else {}
        if self.auto is not None:
            ours["auto"] = self.auto.state_dict()
        return {**super().get_extra_state(), "coeff_dict": dict(self._coeffs), **ours}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take up the state of a checkpoint."""
        super().set_extra_state(state)
        if "softening" in state:
            self.guard.load_state_dict(state["softening"])
        if self.auto is not None and "auto" in state:
            self.auto.load_state_dict(state["auto"])


def uses_forces(metrics: MetricsManager, leave_out: Sequence[str] = ()) -> bool:
    """Whether metrics read anything of a model's output beyond energies."""
    fields = [entry.field for name, entry in metrics.entries.items() if name not in leave_out]
    return any(getattr(field, "field", None) not in _ENERGIES for field in fields)


def _weights(settings: Settings) -> dict[str, float | str]:
    return {term: getattr(settings, f"{term}_weight") for term in TERMS if settings.uses(term)}


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
