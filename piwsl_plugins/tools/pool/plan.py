"""Which frame is run at which temperature, and for how many structures."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from ...frames.reading import Frame
from .settings import PoolSettings


@dataclasses.dataclass(frozen=True)
class Trajectory(Frame):
    """One trajectory to run from a frame, which it also is.

    Attributes:
        start: number of the frame in its file, from 0.
        number: of the run in its pool; no two runs have the same random numbers.
        temperature: in K.
        n_frames: structures wanted of it.
    """

    start: int = 0
    number: int = 0
    temperature: float = 0.0
    n_frames: int = 0

    @functools.cached_property
    def key(self) -> str:
        """Identifies the frame and what is done with it."""
        # not super().key, whose value would be cached under this name
        start = Frame.key.func(self)  # type: ignore[attr-defined]  # what mypy takes for a method
        words = f"{start} {self.number} {self.temperature!r} {self.n_frames}"
        return hashlib.sha256(words.encode()).hexdigest()[:32]


def quotas(settings: PoolSettings) -> dict[float, int]:
    """Structures wanted of each temperature: equal numbers, the first ones one more if need be."""
    return dict(zip(settings.temperatures, _shares(settings.n, len(settings.temperatures))))


def plan(
    starts: Mapping[int, Frame], wanted: Mapping[float, int], settings: PoolSettings, first: int = 0
) -> list[Trajectory]:
    """Runs that give the structures wanted.

    The frames take turns, in an order drawn with the seed, so that runs of different temperatures
    begin at different frames as far as there are enough.

    Args:
        starts: frames by their number in the file.
        wanted: structures of each temperature (K).
        settings: ``per_run`` and ``seed`` are used.
        first: number of the first run.

    Returns:
        the runs, in the order of their numbers.
    """
    order = np.random.default_rng(settings.seed).permutation(sorted(starts))
    runs: list[Trajectory] = []
    for temperature, n_frames in wanted.items():
        for share in _shares(n_frames, -(-n_frames // settings.per_run)):
            number = first + len(runs)
            start = int(order[number % len(order)])
            given = {f.name: getattr(starts[start], f.name) for f in dataclasses.fields(Frame)}
            runs.append(
                Trajectory(
                    **given,
                    start=start,
                    number=number,
                    temperature=temperature,
                    n_frames=share,
                )
            )
    return runs


def _shares(total: int, parts: int) -> Sequence[int]:
    """``total`` in whole numbers that differ by one at most, the larger ones first."""
    return [total // parts + (part < total % parts) for part in range(parts)]
