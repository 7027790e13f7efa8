"""Random displacements of structures too large for a Hessian."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .settings import CurvatureSettings

if TYPE_CHECKING:
    from ase import Atoms


def draw_probes(atoms: Atoms, settings: CurvatureSettings) -> np.ndarray:
    """Displacements from the sampler of PITC; they depend on the positions and the seed alone.

    Args:
        atoms: the structure.
        settings: ``probes``, ``max_displacement`` and ``seed`` are used.

    Returns:
        ``(n_probes, n_atoms, 3)`` in Å, uniform per component.
    """
    import torch

    from ..core.displacements import draw, structure_keys
    from ..core.settings import Settings

    sampling = Settings(displacement="uniform", max_displacement=settings.max_displacement)
    sizes = [len(atoms)]
    positions = torch.tensor(atoms.positions, dtype=torch.float64)
    keys = structure_keys(positions, sizes, settings.seed, 0)
    return np.array(
        [draw(sampling, f"probe {k}", keys, sizes).numpy() for k in range(settings.probes)]
    )
