"""What a user reads of PIWSL during training: means per epoch, and a warning in time.

Numbers and words only; an adapter decides where they are logged.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: share of the base loss above which a PITC term is reported as able to flatten the potential
#: (docs/method.md, "How much weight a fine-tuned model bears")
DOMINANT_SHARE = 0.1


class EpochStatistics:
    """Sums over the training steps of an epoch; tensors stay on the model's device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def _add(self, name: str, value: Tensor, count: float) -> None:
        entry = torch.stack([value.detach().double(), value.new_tensor(count).double()])
        self._sums[name] = self._sums[name] + entry if name in self._sums else entry

    def add_base(self, loss: Tensor, energy_error: Tensor) -> None:
        """Add a step's base loss and its energy errors, ``(n_labelled,)`` in eV per atom."""
        self._add("base", loss, 1)
        self._add("energy_error", energy_error.square().sum(), energy_error.numel())

    def add_term(self, term: str, weighted: Tensor, residual: Tensor, n_atoms: Tensor) -> None:
        """Add a step's weighted term and its residuals, ``(n_paths, n_structures)`` in eV."""
        self._add(term, weighted, 1)
        self._add(f"{term}_residual", (residual / n_atoms).square().sum(), residual.numel())

    def means(self) -> dict[str, float]:
        """Means since the start of the epoch, on this rank.

        Returns:
            "base" and the weighted terms, in the unit of the loss; "energy_error" and
            "…_residual", root mean squares per atom in eV; nan where there was no structure.
        """
        means = {}
        for name, entry in self._sums.items():
            total, count = entry.tolist()
            mean = total / count if count else float("nan")
            means[name] = mean**0.5 if name.endswith(("_residual", "_error")) else mean
        return means

    def take(self, reduce: bool) -> dict[str, float]:
        """:meth:`means` over all ranks if ``reduce``, then start anew; every rank must call it."""
        if reduce:
            for name in sorted(self._sums):
                torch.distributed.all_reduce(self._sums[name])
        means = self.means()
        self._sums = {}
        return means


def _per_atom(value: float) -> str:
    return "of no structure" if math.isnan(value) else f"{1e3 * value:.2f} meV/atom"


def describe(means: dict[str, float]) -> str:
    """The log line of an epoch: every term by name, from :meth:`EpochStatistics.take`."""
    parts = [f"base_loss={means['base']:.4e}"]
    for term in ("pitc", "pisc"):
        if term in means:
            residual = _per_atom(means[f"{term}_residual"])
            parts.append(f"{term}={means[term]:.4e} (RMS residual {residual})")
    return ", ".join(parts)


def describe_first_step(means: dict[str, float]) -> str:
    """The size of the residuals beside the energy error, at the first step."""
    parts = [
        f"RMS {term.upper()} residual {_per_atom(means[f'{term}_residual'])}"
        for term in ("pitc", "pisc")
        if term in means
    ]
    parts.append(f"energy RMSE {_per_atom(means['energy_error'])}")
    return ", ".join(parts)


def dominance_warning(means: dict[str, float], weight: float, prefix: str) -> str | None:
    """The warning that the PITC term can flatten the potential, with the remedy, or None.

    Args:
        means: from :meth:`EpochStatistics.take`.
        weight: PITC weight in force.
        prefix: what precedes an option's name where the user writes it ("--piwsl_" for MACE).
    """
    if "pitc" not in means or not means["pitc"] > DOMINANT_SHARE * means["base"]:
        return None
    share = means["pitc"] / means["base"] if means["base"] else float("inf")
    remedy = (
        f"{prefix}pitc_weight={weight * DOMINANT_SHARE / share:.1g}"
        if share < float("inf")
        else f"a smaller {prefix}pitc_weight"
    )
    return (
        f"PIWSL: the PITC term is {100 * share:.0f} % of the base loss. A true potential has "
        "curvature, so its PITC residual is not zero; at this weight training can flatten the "
        "potential to make it so, and forces then become too small (softening), above all in "
        "fine-tuning and without force labels. Watch the force error on validation data. Remedy: "
        f"{remedy}, or a smaller {prefix}max_displacement (the term grows with its fourth power); "
        "see docs/method.md"
    )
