"""The Hessian-labelled structures that models are asked for."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
from ase import Atoms

from .....errors import InputError
from .....frames.reading import Frame, atoms_of
from .....labels.hessian_labels import HessianLabel
from ....hessian.label_file import read
from ....hessian.sanity import problem_of
from ...frame_set import spread


@dataclasses.dataclass(frozen=True)
class LabelledHessian:
    """One structure with its whole Hessian.

    Attributes:
        atoms: with the charge and spin of the label.
        hessian: ``(3 n_atoms, 3 n_atoms)`` in eV/Å², symmetric.
        number: place of the label in its file, from 0.
        where: file and number, for messages.
    """

    atoms: Atoms
    hessian: np.ndarray
    number: int
    where: str

    @property
    def name(self) -> str:
        """Name of the structure's piece on disk."""
        return f"vibrations-{self.number}"

    @property
    def digest(self) -> str:
        """Identifies structure and Hessian."""
        digest = hashlib.sha256(Frame(self.atoms, self.where).key.encode())
        digest.update(np.ascontiguousarray(self.hessian).tobytes())
        return digest.hexdigest()[:16]


def read_hessians(path: Path, number: int) -> list[LabelledHessian]:
    """The structures of a file of ``piwsl hessian``, or of frames with ``REF_hessian``.

    Probes, Hessians of a part of the atoms and lone atoms are left out.

    Args:
        path: the file.
        number: how many are taken, evenly spaced; 0 for all.

    Raises:
        InputError: for a file without whole Hessians, and a Hessian that cannot be right.
    """
    labels = read(path)
    whole = [n for n, label in enumerate(labels) if _is_whole(label)]
    if not whole:
        raise InputError(
            f"{path}: none of its {len(labels)} labels is a whole Hessian (they are probes, of "
            "a part of the atoms, or of lone atoms); make some with 'piwsl hessian', whose "
            "--max_hessian_atoms sets the size from which it takes probes"
        )
    chosen = spread(whole, number) if number else range(len(whole))
    return [_labelled(labels[whole[index]], whole[index], path) for index in chosen]


def _is_whole(label: HessianLabel) -> bool:
    n_atoms = len(label.numbers)
    return label.hessian is not None and len(label.rows) == n_atoms > 1


def _labelled(label: HessianLabel, number: int, path: Path) -> LabelledHessian:
    where = f"{path} label {number}"
    problem = problem_of(label)
    if problem is not None:
        raise InputError(f"{where}: {problem}")
    assert label.hessian is not None
    return LabelledHessian(
        atoms_of(label.structure), 0.5 * (label.hessian + label.hessian.T), number, where
    )
