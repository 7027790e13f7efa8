"""What the PIWSL loss adds to NequIP's metrics: the mean of a term, and the pool's loss."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from nequip.data import AtomicDataDict
from nequip.train import MeanSquaredError, MetricsManager, RootMeanSquaredError
from torch import Tensor
from torchmetrics import Metric

from ..terms.found import KEY, Found
from .structures import WEIGHT


class TermMean(Metric):
    """A PIWSL term, the mean of its penalties, in the form of NequIP's loss terms.

    Sums and counts are reduced over ranks, so that it is the mean over the structures of all
    ranks, however many each of them holds. It is 0 where no structure carries the term.

    Args:
        term: its name.
    """

    sum: Tensor
    count: Tensor

    def __init__(self, term: str, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.term = term
        for state in ("sum", "count"):
            self.add_state(state, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, preds: AtomicDataDict.Type, target: AtomicDataDict.Type) -> None:
        """Add a batch.

        Args:
            preds: the model's output, with what was found in the step.
            target: not used.
        """
        found: Found | None = preds.get(KEY)
        values = None if found is None else found.penalties.get(self.term)
        if values is None:
            return
        # the second term keeps a gradient, 0, on a rank without such structures
        self.sum = self.sum + values.sum() + 0.0 * preds["total_energy"].sum()
        self.count = self.count + len(values)

    def compute(self) -> Tensor:
        """The mean, a scalar, in the unit of the penalties."""
        mean: Tensor = self.sum / self.count.clamp(min=1.0)
        return mean


class PoolError(torch.nn.Module):
    """The supervised loss of the pool's structures: the same terms, without labels that lack.

    A structure's weight multiplies its squared errors: predictions are moved to label +
    √weight × error, which is exact for mean squared errors, and for them alone. An atom, or a
    structure, of which a component of the label is NaN does not count. It has what NequIP asks of
    a metric.
    """

    def __init__(self, loss: MetricsManager, names: Sequence[str]) -> None:
        """
        Args:
            loss: whose coefficients are used, as they stand at each step.
            names: of its supervised terms.
        """
        super().__init__()
        self._entries = {name: loss.entries[name] for name in names if loss.entries[name].field}
        self.metrics = torch.nn.ModuleDict({n: copy.deepcopy(loss[n]) for n in self._entries})

    @property
    def unweighted(self) -> list[str]:
        """Names of the terms in which structures can have no weight other than 1."""
        squared = (MeanSquaredError, RootMeanSquaredError)
        return [
            name
            for name, entry in self._entries.items()
            if entry.coeff is not None
            and any(type(metric) not in squared for metric in _metrics_in(self.metrics[name]))
        ]

    def forward(self, preds: AtomicDataDict.Type, target: AtomicDataDict.Type) -> Tensor:
        """The weighted sum for one batch, a scalar.

        Args:
            preds: the model's output, with what was found in the step.
            target: not used.
        """
        zero: Tensor = 0.0 * preds["total_energy"].sum()
        found: Found | None = preds.get(KEY)
        if found is None or found.pool is None:
            return zero
        predicted, labels = found.pool, found.pool_labels
        values = {}
        for name, entry in self._entries.items():
            label = label_of(entry.field)
            if label not in labels:
                absent = torch.full_like(predicted[field_of(entry.field)], torch.nan)
                labels = {**labels, label: absent}
            read, wanted = entry.field(predicted, labels)
            values[name] = self._errors(name, read, wanted, labels)
        return zero + self._weighted_sum(values)

    def _errors(
        self, name: str, predicted: Tensor, wanted: Tensor, labels: AtomicDataDict.Type
    ) -> list[Tensor]:
        """The metric's value, or one for each type of atoms; NaN where there is no label."""
        entry = self._entries[name]
        weight = labels[WEIGHT].view(-1).to(predicted)
        if entry.field.type == "node":
            weight = weight[labels[AtomicDataDict.BATCH_KEY]]
        scale = weight.sqrt().view(-1, *[1] * (predicted.dim() - 1))
        moved = wanted + scale * (predicted - wanted)
        known = ~wanted.reshape(len(wanted), -1).isnan().any(dim=-1)
        metrics: Any = self.metrics[name]
        if not entry.per_type:
            return [metrics(moved[known], wanted[known])]
        values = []
        for index, metric in enumerate(metrics):
            of_type = (labels[AtomicDataDict.ATOM_TYPE_KEY].view(-1) == index) & known
            values.append(metric(moved[of_type], wanted[of_type]))
        return values

    def _weighted_sum(self, values: Mapping[str, list[Tensor]]) -> Tensor | float:
        total: Tensor | float = 0.0
        for name, entry in self._entries.items():
            coeffs = entry.per_type_coeffs or [1.0] * len(values[name])
            known = [(c, value) for c, value in zip(coeffs, values[name]) if not value.isnan()]
            if known and entry.coeff:
                mean = sum(c * value for c, value in known) / sum(c for c, _ in known)
                total = total + entry.coeff * mean
        return total

    def compute(self) -> Tensor:
        """The weighted sum over the epoch, a scalar."""
        found = {}
        for name, metric in self.metrics.items():
            of_types: Any = metric if isinstance(metric, torch.nn.ModuleList) else [metric]
            found[name] = [one.compute() for one in of_types]
        return torch.as_tensor(self._weighted_sum(found))

    def reset(self) -> None:
        """Start a new epoch."""
        for metric in _metrics_in(self.metrics):
            metric.reset()

    def _set_sync(self, value: bool) -> None:
        for metric in _metrics_in(self.metrics):
            metric.dist_sync_on_step = value

    #: set by NequIP's training module for all terms of the loss
    dist_sync_on_step = property(None, _set_sync)


def _metrics_in(module: torch.nn.Module) -> list[Metric]:
    return [metric for metric in module.modules() if isinstance(metric, Metric)]


def energy_error(preds: AtomicDataDict.Type, target: AtomicDataDict.Type) -> Tensor:
    """Errors of the energy per atom of the structures with an energy label, ``(n_labelled,)``."""
    if AtomicDataDict.TOTAL_ENERGY_KEY not in target:
        nothing: Tensor = preds[AtomicDataDict.TOTAL_ENERGY_KEY].new_zeros(0)
        return nothing
    found, wanted = (data[AtomicDataDict.TOTAL_ENERGY_KEY] for data in (preds, target))
    error: Tensor = (found - wanted).detach().view(-1) / target[AtomicDataDict.NUM_NODES_KEY]
    return error[error.isfinite()]


def field_of(field: Any) -> str | None:
    """The field of a model's output that a metric reads, by its ``field``; None for the whole."""
    name: str | None = getattr(field, "field", field)
    return name


def label_of(field: Any) -> str:
    """The label that a metric compares with, by its ``field``."""
    name: str = getattr(field, "target_field", field.field)
    return name
