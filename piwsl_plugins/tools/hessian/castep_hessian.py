"""CASTEP's ``.phonon`` files: the modes at Γ, of which the Hessian is made again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import units

from ...labels.hessian_labels import HessianLabel
from .conversion import label_of
from .frequencies import WAVENUMBER
from .phonopy_files import text_of

if TYPE_CHECKING:
    from ase import Atoms


def read_phonon(path: Path) -> tuple[HessianLabel, Atoms]:
    """The Hessian of the unit cell of a ``.phonon`` file, √(m m') Σ ω² e eᵀ over its modes at Γ.

    Raises:
        ValueError: without all modes at Γ.
    """
    import io

    from ase.io.castep import read_castep_phonon

    text = text_of(path)
    points = re.findall(r"^ *q-pt= +\d+ +(.*)$", text, re.MULTILINE)
    modes, atoms = read_castep_phonon(io.StringIO(text), read_vib_data=True, gamma_only=False)
    # three numbers more are the direction in which Γ is approached: there optical modes are split
    chosen = [
        number
        for number, point in enumerate(points)
        if not np.any(np.array(point.split()[:3], dtype=float)) and len(point.split()) <= 4
    ]
    if not chosen:
        raise ValueError(
            "it has no modes at q = 0 without a direction of approach, of which alone a Hessian of "
            "the cell can be made; add 0 0 0 to the list of q (phonon_fine_kpoint_list)"
        )
    energies, vectors = modes[2][chosen[0]], modes[3][chosen[0]]
    if vectors.shape != (3 * len(atoms), 3 * len(atoms)):
        raise ValueError(f"it has {len(vectors)} of the {3 * len(atoms)} modes at q = 0")
    masses = np.array(_masses(text), dtype=float)
    root = np.repeat(np.sqrt(masses), 3)
    squares = np.sign(energies) * (energies / units.invcm / WAVENUMBER) ** 2
    hessian = np.einsum("k,ki,kj->ij", squares, vectors, vectors.conj()).real
    atoms.pbc = True
    return label_of(atoms, hessian * np.outer(root, root)), atoms


def _masses(text: str) -> list[str]:
    """Of the atoms in u, the last column of their list."""
    block = re.search(r"Fractional Co-ordinates\n(.*?) *END header", text, re.DOTALL)
    return [] if block is None else [line.split()[5] for line in block[1].splitlines()]
