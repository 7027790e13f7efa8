"""Which training frames each correction model does not see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from ..structures import Frame


def draw_shares(frames: Sequence[Frame], models: int, held_out: int, seed: int) -> list[list[int]]:
    """Disjoint shares of the frames, one for each model.

    A share never holds all frames with some element, as no model could learn that element.

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
    elements = [set(frame.atoms.numbers.tolist()) for frame in frames]
    occurrences = Counter(z for present in elements for z in present)
    remaining = np.random.default_rng(seed).permutation(n).tolist()
    shares: list[list[int]] = []
    for _ in range(models):
        share: list[int] = []
        taken: Counter[int] = Counter()
        for index in remaining:
            seen_elsewhere = all(taken[z] + 1 < occurrences[z] for z in elements[index])
            if len(share) < size and seen_elsewhere:
                share.append(index)
                taken.update(elements[index])
        if not share:
            raise InputError(
                f"--models={models}: too few training frames can be held out, since others hold "
                "the only atoms of some element; give fewer models, or more frames"
            )
        remaining = [index for index in remaining if index not in share]
        shares.append(sorted(share))
    return shares
