"""Displacement fields δ of whole batches, reproducible structure by structure.

A structure's displacement depends on nothing but the seed, the epoch, the stream (the name of
the point) and its own positions: not on its place in the batch, the number of loader workers,
the number of ranks or what was drawn before. So a restarted run repeats an uninterrupted one,
two ranks repeat one, and within an epoch a line search (LBFGS) sees the same displacements at
every evaluation. Those along the gradient of the supervised loss follow from the model as it is,
and from the batch.

Random numbers are those of a counter: a component's is a hash of the structure's key and of the
component's number (SplitMix64, Steele, Lea and Flood, OOPSLA 2014), so that those of a whole batch
are drawn at once.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..frames.distances import shortest_distance
from ..frames.structure import Structure
from ..options.settings import ADVERSARIAL, Consistency

#: part of a bond length above which a displacement is long (arXiv 2408.05215)
BOND_SHARE = 0.3
#: of all bonds, that of H2, in Å
SHORTEST_BOND = 0.7
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


def epoch_keys(keys: Keys, seed: int, epoch: int, batch: int = 0) -> Keys:
    """Keys of an epoch of a run.

    Args:
        keys: from :func:`geometry_keys`.
        seed: seed of the run.
        epoch: current epoch.
        batch: number of the batch, for structures of a pool, which come several times in an epoch.
    """
    return _with_text(keys, f"{seed} {epoch} {batch}" if batch else f"{seed} {epoch}")


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
    """Random displacements of a batch; those of ``adversarial`` are drawn as of ``atom_norm``.

    Args:
        options: ``displacement`` and ``max_displacement`` are used.
        stream: "displaced" for δ or "waypoint" for δ'; the two are independent.
        keys: one per structure, from :func:`epoch_keys`.
        sizes: number of atoms of each structure.

    Returns:
        ``(n_atoms, 3)`` in Å, float64, on the CPU.
    """
    if options.displacement == "uniform":
        return uniform(keys, stream, sizes, options.max_displacement)
    vectors = normal(keys, stream, sizes)
    if options.displacement in ("atom_norm", ADVERSARIAL):
        return torch.nn.functional.normalize(vectors, dim=-1) * options.max_displacement
    norms = torch.stack([block.norm() for block in vectors.split(list(sizes))])
    lengths = torch.repeat_interleave(norms, torch.as_tensor(sizes)).unsqueeze(-1)
    return vectors / lengths * options.max_displacement


def along(gradient: Tensor, length: float) -> Tensor:
    """Displacements along a gradient, for each atom by itself.

    Args:
        gradient: ``(n_atoms, 3)``, in any unit.
        length: ε, the way of each atom, in Å; one without a gradient does not move.

    Returns:
        ``(n_atoms, 3)`` in Å, float64; NaN where the gradient is.
    """
    gradient = gradient.double()
    norm = torch.linalg.vector_norm(gradient, dim=-1, keepdim=True)
    return length * gradient / torch.where(norm == 0.0, 1.0, norm)


def longest(options: Consistency) -> float:
    """How far an atom can be moved, in Å."""
    diagonal = 3.0**0.5 if options.displacement == "uniform" else 1.0
    return diagonal * options.max_displacement


def bond_warning(
    options: Consistency, structures: Iterable[Structure], prefix: str = ""
) -> str | None:
    """A warning that displacements are long for the bonds of the data, or None.

    The expansion that PITC and PISC compare with holds for small displacements; the paper has at
    most some 30 % of a bond length.

    Args:
        options: of PITC and PISC.
        structures: training data; gone through only if some bond may be too short.
        prefix: what precedes an option's name where the user writes it ("--piwsl_" for MACE).
    """
    length = longest(options)
    if not (options.pitc_weight or options.pisc_weight) or length <= BOND_SHARE * SHORTEST_BOND:
        return None
    bond = shortest_distance(structures, below=length / BOND_SHARE)
    if bond is None:
        return None
    allowed = math.floor(1000 * options.max_displacement * BOND_SHARE * bond / length)
    return (
        f"PIWSL: {prefix}max_displacement={options.max_displacement:g} Å moves atoms by up to "
        f"{length:.2g} Å, {100 * length / bond:.0f} % of the shortest distance between two atoms "
        f"of the training data, {bond:.2f} Å. Beyond {100 * BOND_SHARE:.0f} % the expansion that "
        f"PITC and PISC compare with does not hold: choose {allowed / 1000:g} Å or less"
    )


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
