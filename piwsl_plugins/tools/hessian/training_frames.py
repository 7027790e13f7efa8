"""Training frames of converted calculations: the structures of labels, with energy and forces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...frames.reading import Keys
from ..storage import written_whole

if TYPE_CHECKING:
    from ase import Atoms


def write_training_frames(path: Path, frames: Sequence[Atoms]) -> str:
    """Write extended XYZ with ``REF_energy`` (eV) and ``REF_forces`` (eV/Å) where known.

    Args:
        path: name of the file.
        frames: with energies in ``info`` and forces in ``arrays`` under these names.

    Returns:
        a line on it.
    """
    from ase.io import write

    with written_whole(path) as partial:
        write(partial, list(frames), format="extxyz")
    keys = Keys()
    energies = sum(keys.energy in atoms.info for atoms in frames)
    forces = sum(keys.forces in atoms.arrays for atoms in frames)
    line = (
        f"Training frames: {path}, {len(frames)} structures, {energies} with {keys.energy} (eV), "
        f"{forces} with {keys.forces} (eV/Å)"
    )
    if 0 < energies < len(frames):
        line += "; those with energies are training data, and all of them may be a pool"
    elif energies < len(frames):
        line += "; without energies they may be a pool (--piwsl_pool_file, pool_file)"
    return line
