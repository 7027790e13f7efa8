"""Displacement fields δ of whole batches, reproducible structure by structure.

A structure's displacement depends on nothing but the seed, the epoch, the stream (the name of
the point) and its own positions: not on its place in the batch, the number of loader workers,
the number of ranks or what was drawn before. So a restarted run repeats an uninterrupted one,
two ranks repeat one, and within an epoch a line search (LBFGS) sees the same displacements at
every evaluation.

Random numbers are those of a counter: a component's is a hash of the structure's key and of the
component's number (SplitMix64, Steele, Lea and Flood, OOPSLA 2014), so that those of a whole batch
are drawn at once.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .settings import Consistency

#: one random key per structure
Keys = NDArray[np.uint64]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))


def geometry_keys(positions: Tensor, sizes: Sequence[int]) -> Keys:
    """One key per structure, from its positions.

    Args:
        positions: ``(n_atoms, 3)`` in Å, on the CPU, the structures one after the other.
        sizes: number of atoms of each structure.
    """
    data = memoryview(positions.detach().numpy().tobytes())
    ends = (np.cumsum(sizes) * (len(data) // max(len(positions), 1))).tolist()
    return np.array(
        [_digest(data[start:end]) for start, end in zip([0, *ends], ends)], dtype=np.uint64
    )


def epoch_keys(keys: Keys, seed: int, epoch: int) -> Keys:
    """Keys of an epoch of a run.

    Args:
        keys: from :func:`geometry_keys`.
        seed: seed of the run.
        epoch: current epoch.
    """
    return _with_text(keys, f"{seed} {epoch}")


def random_bits(keys: Keys, stream: str, counts: Sequence[int]) -> NDArray[np.uint64]:
    """Random numbers of 64 bits, ``counts`` of them for each structure, one after the other."""
    counts_array = np.asarray(counts)
    ends = np.cumsum(counts_array)
    number: Keys = np.arange(1, ends[-1] + 1 if len(ends) else 1, dtype=np.uint64)
    number -= np.repeat(ends - counts_array, counts_array).astype(np.uint64)
    number = np.repeat(_with_text(keys, stream), counts_array) + number * _STEP
    return _mixed(number)


def unit(keys: Keys, stream: str, sizes: Sequence[int]) -> Tensor:
    """Components uniform in (0, 1), ``(n_atoms, 3)`` float64."""
    bits = random_bits(keys, stream, [3 * size for size in sizes]) >> np.uint64(11)
    return torch.from_numpy((bits.astype(np.float64) + 0.5) * 2.0**-53).view(-1, 3)


def normal(keys: Keys, stream: str, sizes: Sequence[int]) -> Tensor:
    """Normal components of unit variance, ``(n_atoms, 3)`` float64."""
    components: Tensor = torch.special.ndtri(unit(keys, stream, sizes))
    return components


def uniform(keys: Keys, stream: str, sizes: Sequence[int], limit: float) -> Tensor:
    """Components uniform in [−limit, limit], ``(n_atoms, 3)`` float64."""
    return (2.0 * unit(keys, stream, sizes) - 1.0) * limit


def draw(options: Consistency, stream: str, keys: Keys, sizes: Sequence[int]) -> Tensor:
    """Random displacements of a batch.

    Args:
        options: ``displacement`` and ``max_displacement`` are used; of "adversarial" ones only
            the waypoint is random, and uniform.
        stream: "displaced" for δ or "waypoint" for δ'; the two are independent.
        keys: one per structure, from :func:`epoch_keys`.
        sizes: number of atoms of each structure.

    Returns:
        ``(n_atoms, 3)`` in Å, float64, on the CPU.
    """
    if options.displacement == "one_sided":
        return unit(keys, stream, sizes) * options.max_displacement
    if options.displacement == "fixed_length":
        vectors = normal(keys, stream, sizes)
        return torch.nn.functional.normalize(vectors, dim=-1) * options.max_displacement
    return uniform(keys, stream, sizes, options.max_displacement)


def adversarial(options: Consistency, force_error: Tensor) -> Tensor:
    """Displacements of length ``max_displacement`` along the force error of each atom.

    Args:
        options: ``max_displacement`` is used.
        force_error: F − F_ref, ``(n_atoms, 3)`` in eV/Å; taken as a constant.

    Returns:
        ``(n_atoms, 3)`` in Å, on the device of ``force_error``; 0 for an atom without force error.
    """
    direction = torch.nn.functional.normalize(force_error.detach(), dim=-1)
    return direction * options.max_displacement


def _digest(data: bytes | memoryview) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _with_text(keys: Keys, text: str) -> Keys:
    return _mixed(keys ^ _of_text(text))


@functools.lru_cache(maxsize=64)
def _of_text(text: str) -> np.uint64:
    return np.uint64(_digest(text.encode()))


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser; sums and products are modulo 2⁶⁴."""
    for shift, factor in zip(_SHIFTS, _FACTORS):
        numbers = (numbers ^ (numbers >> shift)) * factor
    return numbers ^ (numbers >> _SHIFTS[2])
