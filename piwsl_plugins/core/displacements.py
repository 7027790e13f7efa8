"""Displacement fields δ of whole batches, reproducible structure by structure.

A structure's displacement depends on nothing but the seed, the epoch, the stream (the name of
the point) and its own positions: not on its place in the batch, the number of loader workers,
the number of ranks or what was drawn before. So a restarted run repeats an uninterrupted one,
two ranks repeat one, and within an epoch a line search (LBFGS) sees the same displacements at
every evaluation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from .settings import Consistency


def structure_keys(positions: Tensor, sizes: list[int], seed: int, epoch: int) -> list[int]:
    """One 64-bit random key per structure, from its positions, the seed and the epoch.

    Args:
        positions: ``(n_atoms, 3)`` in Å, on the CPU, the structures one after the other.
        sizes: number of atoms of each structure.
        seed: seed of the run.
        epoch: current epoch.

    Returns:
        a list of ``len(sizes)`` integers.
    """
    prefix = f"{seed} {epoch} ".encode()
    return [
        int.from_bytes(
            hashlib.blake2b(prefix + block.numpy().tobytes(), digest_size=8).digest(), "little"
        )
        for block in torch.split(positions.detach().contiguous(), sizes)
    ]


def generator(key: int, stream: str) -> torch.Generator:
    """A generator of random numbers for one structure and one purpose."""
    digest = hashlib.blake2b(f"{key} {stream}".encode(), digest_size=4).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))


def uniform(n_atoms: int, limit: float, random: torch.Generator) -> Tensor:
    """Components uniform in [−limit, limit], ``(n_atoms, 3)`` float64."""
    return (2.0 * _unit(n_atoms, random) - 1.0) * limit


def _one_sided(n_atoms: int, limit: float, random: torch.Generator) -> Tensor:
    return _unit(n_atoms, random) * limit


def _fixed_length(n_atoms: int, limit: float, random: torch.Generator) -> Tensor:
    vectors = torch.randn(n_atoms, 3, generator=random, dtype=torch.float64)
    return torch.nn.functional.normalize(vectors, dim=-1) * limit


def _unit(n_atoms: int, random: torch.Generator) -> Tensor:
    return torch.rand(n_atoms, 3, generator=random, dtype=torch.float64)


_SAMPLERS = {
    "uniform": uniform,
    "one_sided": _one_sided,
    "fixed_length": _fixed_length,
    # only the waypoint is random when the displaced point itself is adversarial
    "adversarial": uniform,
}


def draw(options: Consistency, stream: str, keys: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """Random displacements of a batch.

    Args:
        options: ``displacement`` and ``max_displacement`` are used.
        stream: "displaced" for δ or "waypoint" for δ'; the two are independent.
        keys: one per structure, from :func:`structure_keys`.
        sizes: number of atoms of each structure.

    Returns:
        ``(n_atoms, 3)`` in Å, float64, on the CPU.
    """
    sampler = _SAMPLERS[options.displacement]
    return torch.cat(
        [
            sampler(size, options.max_displacement, generator(key, stream))
            for key, size in zip(keys, sizes, strict=True)
        ]
    )


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
