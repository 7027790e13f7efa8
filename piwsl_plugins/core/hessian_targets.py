"""What Hessian labels say along displacements of their structures."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .displacements import Keys, normal, random_bits
from .hessian_checks import problem_of, units_problem_of
from .hessian_labels import HessianLabel, read_labels
from .hessian_lookup import HessianLabels
from .options import SettingsError
from .settings import Hessian

#: atomic numbers and positions (Å) of a structure, on the CPU
Geometry = tuple[Tensor, Tensor]


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
        keys: random keys (:func:`piwsl_plugins.core.displacements.epoch_keys`).
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


def matched_labels(
    options: Hessian,
    option: str,
    structures: Iterable[Geometry],
    pool: Iterable[Geometry] = (),
) -> tuple[HessianLabels, str]:
    """The labels of a file, of which at least one belongs to a structure.

    Args:
        options: name the file.
        option: which one, "hessian_file" or "hessian_valid_file".
        structures: numbers and positions (Å) of the training, or validation, structures.
        pool: of structures beside the training set, which may have labels as well.

    Returns:
        the labels, and what was found, for the log.

    Raises:
        SettingsError: naming the option, for a file that cannot be used or matches no structure.
    """
    path = getattr(options, option)

    def check(index: int, label: HessianLabel) -> None:
        check_label(options, index, label)
        problem = problem_of(label, options.hessian_tolerance)
        if problem:
            raise SettingsError(option, path, f"label {index} (from 0): {problem}")

    given = read_labels(path, option, check)
    in_other_units = units_problem_of(given)
    if in_other_units is not None:
        number, problem = in_other_units
        raise SettingsError(option, path, f"label {number} (from 0): {problem}")
    labels = HessianLabels(given)
    split = "training" if option == "hessian_file" else "validation"
    n_found, n = labels.summary(structures)
    n_found_pool, n_pool = labels.summary(pool)
    if n and not n_found + n_found_pool:
        raise SettingsError(
            option,
            path,
            f"none of its {len(labels)} labels belongs to one of the {n + n_pool} {split} "
            "structures (the same atoms in the same order, positions within 0.001 Å of those that "
            f"the model is given); make labels for the {split} data with 'piwsl hessian'",
        )
    of_pool = f", and for {n_found_pool} of {n_pool} of the pool" if n_pool else ""
    return labels, f"PIWSL: Hessian labels for {n_found} of {n} {split} structures{of_pool}"


def check_label(options: Hessian, index: int, label: HessianLabel) -> None:
    """Refuse a label that the form cannot be compared with.

    Args:
        options: ``hessian_form`` is used.
        index: number of the label in its file.
        label: the label.

    Raises:
        SettingsError: naming ``hessian_form``.
    """
    of_energies = label.hessian is None and label.force_changes is None
    if of_energies and options.hessian_form != "energies":
        raise SettingsError(
            "hessian_form",
            options.hessian_form,
            f"Hessian label {index} (from 0) has probes of energies alone; choose 'energies', or "
            "make labels of forces with 'piwsl hessian'",
        )
