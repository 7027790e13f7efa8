"""What Hessian labels say along displacements of their structures."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..labels.hessian_labels import HessianLabel
from ..options.settings import Hessian
from .displacements import Keys, normal, random_bits


@dataclasses.dataclass(frozen=True)
class Targets:
    """Labels along displacements δ, of structures one after the other.

    Attributes:
        labels: one per structure.
        probes: which of its label's probes each is displaced along; None with a Hessian.
        displacement: δ as drawn, ``(n_atoms, 3)`` in Å, float64 on the CPU.
    """

    labels: Sequence[HessianLabel]
    probes: Sequence[int | None]
    displacement: Tensor

    @property
    def measured(self) -> list[bool]:
        """Whether the change of the forces was measured along this very displacement."""
        return [probe is not None for probe in self.probes]

    @property
    def columns(self) -> NDArray[np.int64]:
        """The atoms whose forces are known to change, ``(k,)``."""
        parts = [label.columns + start for label, start in zip(self.labels, self._starts)]
        return np.concatenate(parts)

    @property
    def n_columns(self) -> list[int]:
        """How many of these atoms each structure has."""
        return [len(label.columns) for label in self.labels]

    def sizes(self, field: Tensor) -> NDArray[np.float64]:
        """Root mean square of δ per component of the atoms that may be displaced, in Å.

        Args:
            field: δ after rounding, ``(n_atoms, 3)`` in Å on the CPU.
        """
        n_rows = np.array([len(label.rows) for label in self.labels])
        squares = field.double().square().sum(dim=-1).numpy()
        sizes: NDArray[np.float64] = np.sqrt(np.add.reduceat(squares, self._starts) / (3 * n_rows))
        return sizes

    def force_differences(self, field: Tensor) -> Tensor:
        """F(r) − F(r+δ) that the labels demand, H δ, ``(k, 3)`` in eV/Å; argument as above."""
        points = field.double().numpy()
        found = []
        for label, probe, start in zip(self.labels, self.probes, self._starts):
            if probe is not None:
                assert label.force_changes is not None
                found.append(-label.force_changes[probe])
            else:
                assert label.hessian is not None
                rows = points[start : start + len(label.numbers)]
                vector = (rows if label.atoms is None else rows[label.atoms]).reshape(-1)
                found.append((vector @ label.hessian).reshape(-1, 3))
        return torch.from_numpy(np.concatenate(found))

    def curvatures(self, field: Tensor) -> Tensor:
        """½[E(r+δ) + E(r−δ)] − E(r) that the labels demand, ½δᵀHδ, ``(n_structures,)`` in eV."""
        points = field.double().numpy()
        found = []
        for label, probe, start in zip(self.labels, self.probes, self._starts):
            if probe is not None and label.curvatures is not None:
                found.append(float(label.curvatures[probe]))
                continue
            rows = points[start : start + len(label.numbers)]
            if probe is not None:
                assert label.force_changes is not None
                found.append(-0.5 * float((label.force_changes[probe] * rows).sum()))
            else:
                vector = rows[label.rows].reshape(-1)
                found.append(0.5 * float(vector @ label.block @ vector))
        return torch.tensor(found, dtype=torch.float64)

    @functools.cached_property
    def _starts(self) -> NDArray[np.int64]:
        """The first atom of each structure."""
        return np.cumsum([0, *(len(label.numbers) for label in self.labels[:-1])])


def draw_targets(options: Hessian, labels: Sequence[HessianLabel], keys: Keys) -> Targets:
    """The displacements of structures in an epoch, and what their labels say along them.

    Args:
        options: ``hessian_displacement`` and ``hessian_step`` are used.
        labels: one per structure.
        keys: random keys (:func:`piwsl_plugins.terms.displacements.epoch_keys`).
    """
    step, sizes = options.hessian_step, [len(label.numbers) for label in labels]
    assert step is not None  # filled in by the options
    gaussian = options.hessian_displacement == "gaussian"
    if gaussian:
        field = step * normal(keys, "hessian", sizes)
    else:
        field = torch.zeros(sum(sizes), 3, dtype=torch.float64)
    numbers = random_bits(keys, "hessian", [1] * len(keys)).tolist()
    probes: list[int | None] = []
    for label, number, own in zip(labels, numbers, field.split(sizes), strict=True):
        probe = None
        if label.hessian is None:
            assert label.displacements is not None
            probe = number % len(label.displacements)
            own.copy_(torch.from_numpy(label.displacements[probe]))
        elif not gaussian:
            number, sign = divmod(number, 2)
            atom, axis = divmod(number % (3 * len(label.rows)), 3)
            own[label.rows[atom], axis] = step if sign else -step
        elif label.atoms is not None:
            fixed = np.ones(len(own), dtype=bool)
            fixed[label.atoms] = False
            own[fixed] = 0.0
        probes.append(probe)
    return Targets(labels, probes, field)
