"""Descriptors of all structures, reduced per element to a few components of a linear design."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from ..errors import RunError
from ..parallel import outcomes
from ..structures import Frame
from .descriptors import Descriptor

#: components per element, beside a constant
COMPONENTS = 64
#: share of the variance that components may leave out: 1 % of the root mean square
LEFT_OUT = 1e-4
#: atoms of an element from which its components are found
_FITTED_ATOMS = 5000
#: structures per call of a descriptor
CHUNK = 50


@dataclasses.dataclass(frozen=True)
class Features:
    """The rows of each element's linear design, gathered by structure.

    Attributes:
        rows: of each element ``(n_atoms, 1 + n_components)``, float32; the first column is 1, and
            the mean square of the others together is 1 over the pool.
        starts: of each element ``(n_structures + 1,)``: rows of structure ``s`` are
            ``starts[s]:starts[s + 1]``.
    """

    rows: Mapping[int, np.ndarray]
    starts: Mapping[int, np.ndarray]

    def of(self, structure: int) -> list[tuple[int, np.ndarray]]:
        """Element and rows ``(n_atoms, 1 + n_components)`` of one structure."""
        found = []
        for element, starts in self.starts.items():
            first, last = starts[structure], starts[structure + 1]
            if last > first:
                found.append((element, self.rows[element][first:last]))
        return found


@dataclasses.dataclass(frozen=True)
class Reduction:
    """Principal components of one element's descriptors, as few as hold nearly all variance.

    Attributes:
        mean: ``(n_features,)``.
        components: ``(n_features, n_components)``, scaled so that the reduced descriptors have a
            mean square of 1 in total.
    """

    mean: np.ndarray
    components: np.ndarray

    @classmethod
    def of(cls, descriptors: np.ndarray) -> Reduction:
        """Find the components of ``descriptors``, ``(n_atoms, n_features)``."""
        from scipy.linalg import eigh

        mean = descriptors.mean(axis=0, dtype=np.float64)
        centred = descriptors - mean
        atoms, features = centred.shape
        # the smaller of the two matrices with the same eigenvalues
        matrix = centred.T @ centred if features <= atoms else centred @ centred.T
        variance = float(np.trace(matrix))
        number = min(COMPONENTS, len(matrix))
        if variance <= 1e-20 * atoms * max(1.0, float(mean @ mean)):
            return cls(mean, np.zeros((features, 0)))
        values, vectors = eigh(matrix, subset_by_index=(len(matrix) - number, len(matrix) - 1))
        values, vectors = values[::-1], vectors[:, ::-1]
        before = variance - np.concatenate([[0], np.cumsum(values)[:-1]])
        needed = before > LEFT_OUT * variance
        values, vectors = values[needed], vectors[:, needed]
        if features > atoms:
            vectors = centred.T @ vectors / np.sqrt(values)
        return cls(mean, vectors * np.sqrt(atoms / variance))

    def rows(self, descriptors: np.ndarray) -> np.ndarray:
        """Rows of the linear design, ``(n_atoms, 1 + n_components)``, float32."""
        reduced = (descriptors - self.mean) @ self.components
        return np.hstack([np.ones((len(reduced), 1)), reduced]).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Structures that are described together."""

    numbers: Sequence[int]
    frames: Sequence[Frame]

    @property
    def where(self) -> str:
        """File and frames, for messages."""
        return f"{self.frames[0].where} and {len(self.frames) - 1} others"


@dataclasses.dataclass(frozen=True)
class _Describe:
    """Descriptors of a chunk by structure and element; reduced, if components are given."""

    descriptor: Descriptor
    reductions: Mapping[int, Reduction] | None = None

    def __call__(self, chunk: Chunk) -> list[dict[int, np.ndarray]]:
        """One mapping by atomic number for each structure."""
        described = []
        for frame, descriptors in zip(chunk.frames, self.descriptor(chunk.frames)):
            if not np.isfinite(descriptors).all():
                raise RunError(f"{frame.where}: its descriptors are not finite")
            numbers = frame.atoms.numbers
            parts = {int(z): descriptors[numbers == z] for z in np.unique(numbers)}
            if self.reductions is not None:
                parts = {z: self.reductions[z].rows(part) for z, part in parts.items()}
            described.append(parts)
        return described


def compute(
    frames: Sequence[Frame],
    descriptor: Descriptor,
    workers: int,
    executor: str,
    advance: Callable[[float], None],
) -> Features:
    """Describe structures and reduce their descriptors, in chunks.

    The components are found from up to :data:`_FITTED_ATOMS` atoms per element, of the structures
    that come first in the order of their keys, which is as good as random and depends neither on
    the order of the file nor on chunks. No structure is described twice.

    Args:
        frames: all structures.
        descriptor: what describes them.
        workers: as :func:`piwsl_plugins.tools.parallel.outcomes`.
        executor: likewise.
        advance: told the number of structures that are finished.

    Raises:
        RunError: naming structures whose descriptors cannot be computed.
    """
    counts = {
        z: np.array([np.count_nonzero(frame.atoms.numbers == z) for frame in frames])
        for z in sorted({int(z) for frame in frames for z in np.unique(frame.atoms.numbers)})
    }
    order = sorted(range(len(frames)), key=lambda number: frames[number].key)
    fitted = _enough(order, counts)
    raw = {}
    for number, parts in _described(fitted, frames, _Describe(descriptor), workers, executor):
        raw[number] = parts
        advance(1)
    reductions = {
        z: Reduction.of(np.concatenate([raw[number][z] for number in fitted if z in raw[number]]))
        for z in counts
    }
    starts = {z: np.concatenate([[0], np.cumsum(count)]) for z, count in counts.items()}
    rows = {
        z: np.empty((starts[z][-1], 1 + reductions[z].components.shape[1]), np.float32)
        for z in counts
    }

    def place(number: int, parts: Mapping[int, np.ndarray]) -> None:
        for z, part in parts.items():
            rows[z][starts[z][number] : starts[z][number + 1]] = part

    for number in fitted:
        place(number, {z: reductions[z].rows(part) for z, part in raw.pop(number).items()})
    others = sorted(set(order) - set(fitted))
    describe = _Describe(descriptor, reductions)
    for number, parts in _described(others, frames, describe, workers, executor):
        place(number, parts)
        advance(1)
    return Features(rows, starts)


def _enough(order: Sequence[int], counts: Mapping[int, np.ndarray]) -> list[int]:
    """The first structures in ``order`` with enough atoms of every element."""
    missing = dict.fromkeys(counts, _FITTED_ATOMS)
    enough = []
    for number in order:
        held = [z for z, count in counts.items() if count[number]]
        if any(missing[z] > 0 for z in held):
            enough.append(number)
            for z in held:
                missing[z] -= int(counts[z][number])
    return enough


def _described(
    numbers: Sequence[int],
    frames: Sequence[Frame],
    describe: _Describe,
    workers: int,
    executor: str,
) -> Iterator[tuple[int, dict[int, np.ndarray]]]:
    """Number and descriptors by element of each structure, as they come."""
    chunks = [
        Chunk(part, [frames[number] for number in part])
        for part in (numbers[i : i + CHUNK] for i in range(0, len(numbers), CHUNK))
    ]
    for outcome in outcomes(describe, chunks, workers, executor):  # type: ignore[arg-type]
        if outcome.failure:
            raise RunError(f"{outcome.frame.where}: no descriptors ({outcome.failure})")
        yield from zip(outcome.frame.numbers, outcome.result)  # type: ignore[attr-defined]
