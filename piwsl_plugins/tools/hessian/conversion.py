"""Labels from finished calculations: what every conversion gives, and frames with Hessians."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import InputError
from ...frames.reading import atoms_of, read_frames, structure_of
from ...labels.hessian_checks import problem_of, unit_problem_of, units_problem_of
from ...labels.hessian_labels import HessianLabel
from ...labels.hessian_lookup import HessianLabels
from ...options.settings import Hessian
from .label_file import read
from .sanity import malformed

if TYPE_CHECKING:
    from ase import Atoms


@dataclasses.dataclass(frozen=True)
class Converted:
    """Labels of finished calculations.

    Attributes:
        labels: as they were read.
        where: the file or folder of each.
        method: where they come from, in words.
        frames: the structure of each with energy and forces of the same calculation, as far as
            they are known; empty where neither ever is.
        notes: lines for the user.
        displaced: further structures of the same calculations, with forces, that have no label.
        one_file: whether one file holds all of them, in one unit, as training reads it.
    """

    labels: Sequence[HessianLabel]
    where: Sequence[str]
    method: str
    frames: Sequence[Atoms] = ()
    notes: Sequence[str] = ()
    displaced: Sequence[Atoms] = ()
    one_file: bool = False

    def structures(self) -> list[Atoms]:
        """The structures that have the labels, with what else is known of them; then the others."""
        known = self.frames or (atoms_of(label.structure) for label in self.labels)
        return [*known, *self.displaced]

    def symmetric(self, tolerance: float = Hessian.hessian_tolerance) -> list[HessianLabel]:
        """The labels, the small differences that noise leaves between Hᵀ and H taken out.

        Args:
            tolerance: ``hessian_tolerance``, relative to the largest element of a Hessian.

        Raises:
            InputError: for a label that cannot be right, and that training would refuse.
        """
        found = []
        for label, where in zip(self.labels, self.where, strict=True):
            problem = malformed(label) or problem_of(label, tolerance)
            if problem is None and label.hessian is not None and not self.one_file:
                problem = unit_problem_of(label)
            if problem is not None:
                raise InputError(f"{where}: {problem}")
            found.append(label if label.hessian is None else _symmetrised(label))
        in_other_units = units_problem_of(self.labels) if self.one_file else None
        if in_other_units is not None:
            raise InputError(f"{self.where[in_other_units[0]]}: {in_other_units[1]}")
        known = HessianLabels(found)
        for number, where in enumerate(self.where):
            contradiction = known.contradiction(number)
            if contradiction is not None:
                other, reason = contradiction
                raise InputError(
                    f"{where} and {self.where[other]} hold labels of one structure, and {reason}; "
                    "convert those of one method, that of your training data"
                )
        return found


def _symmetrised(label: HessianLabel) -> HessianLabel:
    """The label with a symmetric block; columns of atoms without rows stay as they are."""
    hessian = np.array(label.hessian)
    columns = np.flatnonzero(np.isin(label.columns, label.rows))
    columns = (3 * columns[:, None] + np.arange(3)).ravel()
    hessian[:, columns] = 0.5 * (label.block + label.block.T)
    return dataclasses.replace(label, hessian=hessian)


def label_of(atoms: Atoms, hessian: np.ndarray, indices: np.ndarray | None = None) -> HessianLabel:
    """The label of a structure with a Hessian ``(3 m, 3 m)`` in eV/Å².

    Args:
        atoms: the structure.
        hessian: of the atoms ``indices``, in their order.
        indices: ``(m,)``; None for all atoms.
    """
    if indices is not None:
        order = np.argsort(indices)
        blocks = hessian.reshape(len(order), 3, len(order), 3)[order][:, :, order]
        indices, hessian = indices[order], blocks.reshape(hessian.shape)
        if np.array_equal(indices, np.arange(len(atoms))):
            indices = None
    known = structure_of(atoms)
    return HessianLabel(
        atoms.numbers,
        atoms.positions,
        atoms.cell.array,
        atoms.pbc,
        hessian,
        indices,
        charge=known.charge,
        spin=known.spin,
    )


def from_frames(data: Path) -> Converted:
    """Hessians of frames that carry them under ``REF_hessian``.

    Raises:
        InputError: if there are none, or of another size.
    """
    read_frames(data)
    labels = read(data)
    where = [f"{data}: Hessian {number}" for number in range(len(labels))]
    return Converted(labels, where, f"Hessians of {data.name}", one_file=True)
