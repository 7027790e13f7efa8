"""Random displacements of structures that get no whole Hessian."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .settings import HessianSettings

if TYPE_CHECKING:
    from ase import Atoms


def draw_probes(atoms: Atoms, settings: HessianSettings) -> np.ndarray:
    """Uniform random displacements; they depend on the positions and the seed alone.

    Args:
        atoms: the structure.
        settings: ``probes``, ``max_displacement`` and ``seed`` are used.

    Returns:
        ``(n_probes, n_atoms, 3)`` in Å, uniform per component.
    """
    import torch

    from ...terms.displacements import epoch_keys, geometry_keys, uniform

    positions = torch.tensor(atoms.positions, dtype=torch.float64)
    keys = epoch_keys(geometry_keys(positions, [len(atoms)]), settings.seed, 0)
    fields = [
        uniform(keys, f"probe {number}", [len(atoms)], settings.max_displacement)
        for number in range(settings.probes)
    ]
    return torch.stack(fields).numpy()
