"""Which training frames each correction model does not see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import InputError
from ...frames.element_energies import compositions
from ...frames.reading import Frame, elements_of


def draw_shares(frames: Sequence[Frame], models: int, held_out: int, seed: int) -> list[list[int]]:
    """Disjoint shares of the frames, one for each model.

    Without its share, the frames of a model fix the offsets of all compositions that all frames
    fix: the only frame of a composition that the others do not span is never held out. The only
    frame with some element is one of these.

    Args:
        frames: with expensive labels.
        models: number of models.
        held_out: size of a share; 0: a tenth of the frames, and at least 1, as far as they go.
        seed: of the drawing.

    Returns:
        of each model, sorted indices of ``frames``.

    Raises:
        InputError: if there are too few frames.
    """
    n = len(frames)
    size = held_out or min(max(1, round(n / 10)), n // models)
    if size == 0 or size * models > n or size == n:
        option = (
            f"--held_out={held_out} and --models={models}" if held_out else f"--models={models}"
        )
        raise InputError(
            f"{option}: {n} training frames are too few for a share of their own for each model; "
            "give fewer models, or more frames"
        )
    rows = compositions([frame.atoms.numbers for frame in frames], elements_of(frames))
    whole = rows.T @ rows  # whole numbers, so that frames can be taken off exactly
    rank = _rank(whole)
    remaining = np.random.default_rng(seed).permutation(n).tolist()
    shares: list[list[int]] = []
    for _ in range(models):
        share: list[int] = []
        seen = whole
        for index in remaining:
            if len(share) == size:
                break
            without = seen - np.outer(rows[index], rows[index])
            if _rank(without) == rank:
                share.append(index)
                seen = without
        if not share:
            raise InputError(
                f"--models={models}: too few training frames can be held out, since others are "
                "the only ones of a composition that fixes the offsets of the elements; give fewer "
                "models, or more frames"
            )
        remaining = [index for index in remaining if index not in share]
        shares.append(sorted(share))
    return shares


def _rank(products: np.ndarray) -> int:
    """Number of independent compositions, of their products summed over frames."""
    return int(np.linalg.matrix_rank(products, hermitian=True))
