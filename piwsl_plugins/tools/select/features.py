"""Descriptors of all structures, reduced per element to the rows of a linear design."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from ...errors import PIWSLError, RunError, reason_of
from ...frames.reading import Frame
from ..parallel import outcomes
from .descriptors import Descriptor
from .reduction import Reduction

#: atoms of an element from which its components are found, if memory allows
_FITTED_ATOMS = 5000
#: single-precision numbers of descriptors that are kept at a time (1 GiB), about
_FITTED_NUMBERS = 2**28
#: structures, and double-precision numbers (256 MiB), of one call of a descriptor
CHUNK, _CHUNK_NUMBERS = 50, 2**25


@dataclasses.dataclass(frozen=True)
class Features:
    """The rows of each element's linear design, gathered by structure.

    Attributes:
        rows: of each element ``(n_atoms, width)``, float32 (:meth:`Reduction.rows`).
        starts: of each element ``(n_structures + 1,)``: rows of structure ``s`` are
            ``starts[s]:starts[s + 1]``.
    """

    rows: Mapping[int, np.ndarray]
    starts: Mapping[int, np.ndarray]

    def of(self, structure: int) -> list[tuple[int, np.ndarray]]:
        """Element and rows ``(n_atoms, width)`` of one structure."""
        held = []
        for element, starts in self.starts.items():
            first, last = starts[structure], starts[structure + 1]
            if last > first:
                held.append((element, self.rows[element][first:last]))
        return held


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Structures that are described together."""

    numbers: Sequence[int]
    frames: Sequence[Frame]

    @property
    def where(self) -> str:
        """File and frames, for messages."""
        others = len(self.frames) - 1
        return self.frames[0].where + (f" or one of {others} described with it" if others else "")


@dataclasses.dataclass(frozen=True)
class _Describe:
    """What describes a chunk, by structure and element; reduced where components are known."""

    descriptor: Descriptor
    reductions: Mapping[int, Reduction]

    def __call__(self, chunk: Chunk) -> list[dict[int, np.ndarray]]:
        """One mapping by atomic number for each structure: descriptors, or rows of the design."""
        described = []
        for frame, descriptors in zip(chunk.frames, self.descriptor(chunk.frames)):
            if not np.isfinite(descriptors).all():
                raise RunError(f"{frame.where}: its descriptors are not finite")
            # the same precision for all, whether they are kept for a while or reduced at once
            single = descriptors.astype(np.float32)
            numbers = frame.atoms.numbers
            parts = {int(z): single[numbers == z] for z in np.unique(numbers)}
            for z in self.reductions.keys() & parts.keys():
                parts[z] = self.reductions[z].rows(parts[z])
            described.append(parts)
        return described


def compute(
    frames: Sequence[Frame],
    descriptor: Descriptor,
    workers: int,
    executor: str,
    advance: Callable[[float], None],
) -> Features:
    """Describe structures and reduce their descriptors, in chunks; none is described twice.

    An element's components are found from its first atoms, in the order of the structures, and its
    later ones are reduced as soon as they are described. For components of a representative part,
    the order should be as good as random; the result depends on nothing else.

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
    starts = {z: np.concatenate([[0], np.cumsum(count)]) for z, count in counts.items()}
    size = _size(frames[0], descriptor)
    fitted_atoms = min(_FITTED_ATOMS, max(1, _FITTED_NUMBERS // (size * len(counts))))
    enough = {z: _stage(start, fitted_atoms) for z, start in starts.items()}
    reductions: dict[int, Reduction] = {}
    rows: dict[int, np.ndarray] = {}
    first = 0
    for last in sorted({*enough.values(), len(frames)}):
        chunks = _chunks(range(first, last), frames, size)
        describe = _Describe(descriptor, dict(reductions))
        for z, count in starts.items():
            if z not in reductions:
                # what is not reduced yet, of all stages before it has enough
                rows.setdefault(z, np.empty((0, size), np.float32))
                kept = np.empty((count[last], size), np.float32)
                kept[: len(rows[z])] = rows[z]
                rows[z] = kept
        for number, parts in _described(chunks, describe, workers, executor):
            for z, part in parts.items():
                rows[z][starts[z][number] : starts[z][number + 1]] = part
            advance(1)
        for z in [z for z, stage in enough.items() if stage == last]:
            descriptors = rows.pop(z)
            reductions[z] = Reduction.of(descriptors)
            rows[z] = np.empty((starts[z][-1], reductions[z].width), np.float32)
            for number in range(last):
                here = slice(starts[z][number], starts[z][number + 1])
                rows[z][here] = reductions[z].rows(descriptors[here])
        first = last
    return Features({z: rows[z] for z in counts}, starts)


def _size(frame: Frame, descriptor: Descriptor) -> int:
    """Numbers that describe an atom."""
    try:
        return max(1, int(descriptor([frame])[0].shape[1]))
    except PIWSLError:
        raise
    except Exception as error:
        raise RunError(f"{frame.where}: no descriptors ({reason_of(error)})") from error


def _stage(starts: np.ndarray, atoms: int) -> int:
    """How many structures are described before an element has enough atoms.

    They are a power of two, or all, so that there are few stages.
    """
    needed = int(np.searchsorted(starts, min(atoms, starts[-1])))
    return min(1 << (max(1, needed) - 1).bit_length(), len(starts) - 1)


def _chunks(numbers: Sequence[int], frames: Sequence[Frame], size: int) -> list[Chunk]:
    """Structures in order, in chunks that need little memory."""
    chunks: list[Chunk] = []
    part: list[int] = []
    held = 0
    for number in numbers:
        held += size * len(frames[number].atoms)
        if part and (len(part) == CHUNK or held > _CHUNK_NUMBERS):
            chunks.append(Chunk(part, [frames[n] for n in part]))
            part, held = [], size * len(frames[number].atoms)
        part.append(number)
    if part:
        chunks.append(Chunk(part, [frames[n] for n in part]))
    return chunks


def _described(
    chunks: Sequence[Chunk], describe: _Describe, workers: int, executor: str
) -> Iterator[tuple[int, dict[int, np.ndarray]]]:
    """Number and what describes each structure, as they come."""
    for outcome in outcomes(describe, chunks, workers, executor):  # type: ignore[arg-type]
        if outcome.failure:
            raise RunError(f"{outcome.frame.where}: no descriptors ({outcome.failure})")
        yield from zip(outcome.frame.numbers, outcome.result)  # type: ignore[attr-defined]
