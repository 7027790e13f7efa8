"""Which atoms are bonded, judged by covalent radii."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.neighborlist import natural_cutoffs, neighbor_list

#: atoms closer than this multiple of the sum of their covalent radii are bonded
BONDED_WITHIN = 1.25


def bonds(atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both atoms of every bond and the vector between them (Å); each bond in both directions."""
    first, second, vectors = neighbor_list("ijD", atoms, natural_cutoffs(atoms, mult=BONDED_WITHIN))
    return first, second, vectors
