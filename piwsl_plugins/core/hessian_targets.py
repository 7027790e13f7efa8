"""What one Hessian label says along one displacement."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from .displacements import generator
from .hessian_labels import HessianLabel, HessianLabels, read_labels
from .options import SettingsError
from .settings import Hessian

#: atomic numbers and positions (Å) of a structure, on the CPU
Geometry = tuple[Tensor, Tensor]


@dataclasses.dataclass(frozen=True)
class Target:
    """A label along a displacement δ of its structure.

    Attributes:
        label: the label.
        displacement: δ as drawn, ``(n_atoms, 3)`` in Å, float64 on the CPU.
        probe: which of the label's probes it is; None with a Hessian.
    """

    label: HessianLabel
    displacement: Tensor
    probe: int | None

    @property
    def measured(self) -> bool:
        """Whether the change of the forces was measured along this very displacement."""
        return self.probe is not None

    @property
    def columns(self) -> Tensor:
        """The atoms whose forces are known to change, ``(k,)``."""
        return torch.from_numpy(np.asarray(self.label.columns))

    @property
    def n_components(self) -> int:
        """Number of components that δ may have, 3 m."""
        return 3 * len(self.label.rows)

    def size(self, field: Tensor) -> float:
        """Root mean square per component of the atoms that may be displaced, in Å."""
        return math.sqrt(float(field.double().square().sum()) / self.n_components)

    def force_difference(self, field: Tensor) -> Tensor:
        """F(r) − F(r+δ) that the label demands, H δ, ``(k, 3)`` in eV/Å.

        Args:
            field: δ after rounding, ``(n_atoms, 3)`` in Å on the CPU.
        """
        label = self.label
        if self.probe is not None:
            assert label.force_changes is not None
            return -torch.from_numpy(label.force_changes[self.probe])
        assert label.hessian is not None
        vector = field.double()[torch.from_numpy(label.rows)].reshape(-1)
        return (vector @ torch.from_numpy(label.hessian)).view(-1, 3)

    def curvature(self, field: Tensor) -> Tensor:
        """½[E(r+δ) + E(r−δ)] − E(r) that the label demands, ½δᵀHδ, a scalar in eV."""
        label = self.label
        if self.probe is not None and label.curvatures is not None:
            return torch.tensor(float(label.curvatures[self.probe]), dtype=torch.float64)
        if self.probe is not None:
            return 0.5 * (self.force_difference(field) * field.double()).sum()
        vector = field.double()[torch.from_numpy(label.rows)].reshape(-1)
        return 0.5 * vector @ torch.from_numpy(label.block) @ vector


def draw_target(options: Hessian, label: HessianLabel, key: int) -> Target:
    """The displacement of a structure in an epoch, and what its label says along it.

    Args:
        options: ``hessian_displacement`` and ``hessian_step`` are used.
        label: the structure's.
        key: its random key (:func:`piwsl_plugins.core.displacements.structure_keys`).
    """
    if label.hessian is None:
        assert label.displacements is not None
        probe = key % len(label.displacements)
        return Target(label, torch.from_numpy(label.displacements[probe]).double(), probe)
    random = generator(key, "hessian")
    rows = torch.from_numpy(np.asarray(label.rows))
    field = torch.zeros(len(label.numbers), 3, dtype=torch.float64)
    step = options.hessian_step
    assert step is not None  # filled in by the options
    if options.hessian_displacement == "gaussian":
        vectors = torch.randn(len(rows), 3, generator=random, dtype=torch.float64)
        field[rows] = step * vectors
    else:
        component, sign = torch.randint(3 * len(rows), (2,), generator=random).tolist()
        atom, axis = divmod(component, 3)
        field[rows[atom], axis] = step * (1 if sign % 2 else -1)
    return Target(label, field, None)


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
    given = read_labels(path, option)
    check_labels(options, given)
    labels = HessianLabels(given)
    split = "training" if option == "hessian_file" else "validation"
    n_found, n = labels.summary(structures)
    n_found_pool, n_pool = labels.summary(pool)
    if n and not n_found + n_found_pool:
        raise SettingsError(
            option,
            path,
            f"none of its {len(labels)} labels belongs to one of the {n + n_pool} {split} "
            "structures (the same atoms in the same order, positions within 0.001 Å); make labels "
            f"for the {split} data with 'piwsl hessian'",
        )
    of_pool = f", and for {n_found_pool} of {n_pool} of the pool" if n_pool else ""
    return labels, f"PIWSL: Hessian labels for {n_found} of {n} {split} structures{of_pool}"


def check_labels(options: Hessian, labels: list[HessianLabel]) -> None:
    """Refuse labels that the form cannot be compared with.

    Raises:
        SettingsError: naming ``hessian_form``.
    """
    for index, label in enumerate(labels):
        of_energies = label.hessian is None and label.force_changes is None
        if of_energies and options.hessian_form != "energies":
            raise SettingsError(
                "hessian_form",
                options.hessian_form,
                f"Hessian label {index} (from 0) has probes of energies alone; choose "
                "'energies', or make labels of forces with 'piwsl hessian'",
            )
