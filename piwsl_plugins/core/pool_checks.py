"""A pool, looked through before training: elements, frames held out, scale of the energies."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .energy_scale import IMPOSSIBLE, UNLIKELY, Energies, distance
from .frame_checks import geometry_digest
from .options import SettingsError


@dataclasses.dataclass(frozen=True)
class PoolFrame:
    """A structure of the pool's file.

    Attributes:
        index: its number in the file, from 0.
        numbers: ``(n_atoms,)``, atomic numbers.
        positions: ``(n_atoms, 3)`` in Å.
        labelled: whether it has an energy or forces.
        energy: in eV, or None.
    """

    index: int
    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    labelled: bool
    energy: float | None = None


class TrainingFrames:
    """What a pool is compared with.

    Attributes:
        digests: of the geometries, see :func:`~piwsl_plugins.core.frame_checks.geometry_digest`.
        energies: those that the pool's must be comparable with.
    """

    def __init__(self) -> None:
        self.digests: set[bytes] = set()
        self.energies = Energies()

    def add(
        self,
        numbers: NDArray[np.int64],
        positions: NDArray[np.float64],
        energy: float | None = None,
    ) -> None:
        """Take in a frame: atomic numbers, positions (Å) and its energy (eV), if it has one."""
        self.digests.add(geometry_digest(numbers, positions))
        if energy is not None:
            self.energies.add(numbers, energy)


def look_through(
    path: str,
    frames: Iterable[PoolFrame],
    elements: Iterable[int],
    held_out: Mapping[bytes, tuple[str, int]],
    training: TrainingFrames,
) -> Generator[tuple[Tensor, Tensor], None, str]:
    """Refuse a pool that cannot be trained on, or that a model is validated or tested on.

    Args:
        path: its file.
        frames: its structures.
        elements: atomic numbers that the model knows.
        held_out: in which data, in words, and as what number of it validation and test frames
            stand, by their :func:`~piwsl_plugins.core.frame_checks.geometry_digest`.
        training: the training frames.

    Yields:
        numbers and positions (Å) of each frame, after it was looked at.

    Returns:
        what the pool holds, for the log.

    Raises:
        SettingsError: naming ``pool_file`` and the frame.
    """
    known = {int(z) for z in elements}
    energies = Energies()
    n = n_labelled = n_shared = 0
    for frame in frames:
        key = geometry_digest(frame.numbers, frame.positions)
        if key in held_out:
            place, number = held_out[key]
            raise SettingsError(
                "pool_file",
                path,
                f"frame {frame.index} (from 0) is frame {number} (from 0) of {place}; remove it "
                "from the pool, or errors on such data mean nothing",
            )
        unknown = set(np.asarray(frame.numbers).tolist()) - known
        if unknown:
            raise SettingsError(
                "pool_file",
                path,
                f"frame {frame.index} (from 0) holds {_symbols(unknown)}, but the model knows "
                f"{_symbols(known)} only, the elements of the training data; remove such "
                "structures from the file",
            )
        n += 1
        n_labelled += frame.labelled
        n_shared += key in training.digests
        if frame.energy is not None:
            energies.add(frame.numbers, frame.energy)
        yield torch.from_numpy(frame.numbers), torch.from_numpy(frame.positions)
    if n == 0:
        raise SettingsError("pool_file", path, "there is no structure in this file")
    return (
        f"PIWSL: pool of {n} structures, {n_labelled} with labels; {n_shared} of them are in the "
        f"training data too{_check_scale(path, distance(energies, training.energies))}"
    )


def _check_scale(path: str, apart: float) -> str:
    """A warning of energies that lie eV per atom apart.

    Raises:
        SettingsError: if they cannot be of one method.
    """
    words = (
        f"its energies lie on average {apart:.4g} eV/atom from those of the training frames; take "
        "the offsets between the two methods off, as 'piwsl weak' does"
    )
    if abs(apart) > IMPOSSIBLE:
        raise SettingsError("pool_file", path, words)
    return f"\nPIWSL: WARNING: {path}: {words}" if abs(apart) > UNLIKELY else ""


def _symbols(numbers: Iterable[int]) -> str:
    from ase.data import chemical_symbols

    return ", ".join(chemical_symbols[z] for z in sorted(numbers))
