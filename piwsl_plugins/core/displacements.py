"""Displacement fields δ of whole batches, reproducible structure by structure.

A structure's displacement depends on nothing but the seed, the epoch, the stream
("displaced" or "waypoint") and its own positions: not on its place in the batch, the number
of loader workers, the number of ranks or what was drawn before. So a restarted run repeats
an uninterrupted one, two ranks repeat one, and within an epoch a line search (LBFGS) sees
the same displacements at every evaluation.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

from .curvature import CurvatureLabel
from .settings import Settings


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


def _generator(key: int, stream: str) -> torch.Generator:
    digest = hashlib.blake2b(f"{key} {stream}".encode(), digest_size=4).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))


def _uniform(n: int, limit: float, generator: torch.Generator) -> Tensor:
    return (2.0 * _unit(n, 3, generator) - 1.0) * limit


def _one_sided(n: int, limit: float, generator: torch.Generator) -> Tensor:
    return _unit(n, 3, generator) * limit


def _fixed_length(n: int, limit: float, generator: torch.Generator) -> Tensor:
    vectors = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(vectors, dim=-1) * limit


def _uniform_length(n: int, limit: float, generator: torch.Generator) -> Tensor:
    return _fixed_length(n, limit, generator) * _unit(n, 1, generator)


def _gaussian(n: int, limit: float, generator: torch.Generator) -> Tensor:
    """Truncated exactly, by inverting the cumulative distribution between ±2 σ, σ = limit/2."""
    probability = (2.0 * _unit(n, 3, generator) - 1.0) * math.erf(math.sqrt(2.0))
    return torch.erfinv(probability) * (limit / math.sqrt(2.0))


def _unit(n: int, columns: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, columns, generator=generator, dtype=torch.float64)


_SAMPLERS = {
    "uniform": _uniform,
    "one_sided": _one_sided,
    "fixed_length": _fixed_length,
    "uniform_length": _uniform_length,
    "gaussian": _gaussian,
    # only the waypoint is random when the displaced point itself is adversarial
    "adversarial": _uniform_length,
}


def draw(
    settings: Settings,
    stream: str,
    keys: list[int],
    sizes: list[int],
    movable: Tensor | None = None,
) -> Tensor:
    """Random displacements of a batch.

    Args:
        settings: ``displacement``, ``max_displacement`` and ``displaced_fraction`` are used.
        stream: "displaced" for δ or "waypoint" for δ'; the two are independent, but displace
            the same atoms.
        keys: one per structure, from :func:`structure_keys`.
        sizes: number of atoms of each structure.
        movable: ``(n_atoms, 3)`` or ``(n_atoms, 1)``, bool; components that may move.

    Returns:
        ``(n_atoms, 3)`` in Å, float64, on the CPU; 0 where an atom stays.
    """
    sampler = _SAMPLERS[settings.displacement]
    if not sizes:
        return torch.zeros(0, 3, dtype=torch.float64)
    displacement = torch.cat(
        [
            sampler(size, settings.max_displacement, _generator(key, stream))
            for key, size in zip(keys, sizes, strict=True)
        ]
    )
    return displacement * _displaced(settings, keys, sizes, movable)


def draw_points(
    settings: Settings,
    keys: list[int],
    sizes: list[int],
    movable: Tensor | None = None,
    labels: list[CurvatureLabel] | None = None,
) -> dict[str, Tensor]:
    """All random displacements that the terms need, by point.

    "displaced" is left out where it is adversarial, and thus known only after the model's
    forces; "mirrored" (−δ) where PITC is not in its symmetric form; "waypoint" where PISC has no
    weight. A structure whose curvature label has probes is displaced along one of them, whole,
    whatever ``displaced_fraction`` and ``movable`` say.

    Args:
        settings: as in :func:`draw`; the weights and ``pitc_form`` (decided) say which points.
        keys: one per structure, from :func:`structure_keys`.
        sizes: number of atoms of each structure.
        movable: ``(n_atoms, 3)`` or ``(n_atoms, 1)``, bool; components that may move.
        labels: curvature labels, one per structure, with target "curvature".

    Returns:
        fields as from :func:`draw`.
    """
    points = {}
    if settings.displacement != "adversarial":
        displaced = draw(settings, "displaced", keys, sizes, movable)
        for label, key, field in zip(labels or [], keys, torch.split(displaced, sizes)):
            probe = label.probe(key)
            if probe is not None and label.displacements is not None:
                field.copy_(torch.from_numpy(label.displacements[probe]))
        points["displaced"] = displaced
        if settings.uses("pitc") and settings.pitc_form == "symmetric":
            points["mirrored"] = -displaced
    if settings.uses("pisc"):
        points["waypoint"] = draw(settings, "waypoint", keys, sizes, movable)
    return points


def adversarial(
    settings: Settings,
    force_error: Tensor,
    keys: list[int],
    sizes: list[int],
    movable: Tensor | None = None,
) -> Tensor:
    """Displacements of length ``max_displacement`` along the force error of each atom.

    Args:
        settings: ``max_displacement`` and ``displaced_fraction`` are used.
        force_error: F − F_ref, ``(n_atoms, 3)`` in eV/Å; taken as a constant.
        keys: one per structure, from :func:`structure_keys`.
        sizes: number of atoms of each structure.
        movable: ``(n_atoms, 3)`` or ``(n_atoms, 1)``, bool; components that may move.

    Returns:
        ``(n_atoms, 3)`` in Å, in the dtype and on the device of ``force_error``; 0 where an
        atom stays or has no force error.
    """
    allowed = _displaced(settings, keys, sizes, movable).to(force_error.device)
    direction = torch.nn.functional.normalize(force_error.detach() * allowed, dim=-1)
    return direction * settings.max_displacement


def _displaced(
    settings: Settings, keys: list[int], sizes: list[int], movable: Tensor | None
) -> Tensor:
    """Bool mask ``(n_atoms, 3)`` of what is displaced: movable, and in the random fraction."""
    mask = torch.ones(sum(sizes), 3, dtype=torch.bool)
    if movable is not None:
        mask &= movable.detach().cpu().bool()
    if settings.displaced_fraction < 1.0:
        for key, block in zip(keys, torch.split(mask, sizes), strict=True):
            atoms = block.any(dim=-1).nonzero().squeeze(-1)
            n_displaced = max(1, round(settings.displaced_fraction * len(atoms)))
            order = torch.randperm(len(atoms), generator=_generator(key, "atoms"))
            block[atoms[order[n_displaced:]]] = False
    return mask
