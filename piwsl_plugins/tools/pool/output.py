"""The file of a pool."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ase import Atoms

from ...frames.reading import Keys
from ..storage import written_whole
from .collection import Snapshot


def write_pool(path: Path, structures: Sequence[Snapshot], labels: bool) -> None:
    """Write extended XYZ, whole or not at all.

    Args:
        path: name of the file.
        structures: in the order of the file.
        labels: whether energy, forces and stress of the calculator go with them.
    """
    from ase.io import write

    with written_whole(path) as partial:
        write(partial, [_described(s, labels) for s in structures], format="extxyz")


def _described(structure: Snapshot, labels: bool) -> Atoms:
    run, keys = structure.run, Keys()
    atoms = run.written(structure.atoms)
    if run.config_type:
        atoms.info["config_type"] = run.config_type
    atoms.info |= {
        "pool_temperature": run.temperature,
        "pool_start": run.start,
        "pool_time": structure.time,
    }
    if labels:
        atoms.info[keys.energy] = structure.energy
        atoms.set_array(keys.forces, structure.forces)
        if structure.stress is not None:
            atoms.info[keys.stress] = structure.stress
    return atoms
