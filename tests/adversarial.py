"""Displacements along the gradient of a loss, as a step has them and by differences."""

import contextlib

import numpy as np
import pytest
import torch

from piwsl_plugins.terms.step import Selection
from piwsl_plugins.testing.structures import moved

#: of the differences, in Å
STEP = 1e-4


@contextlib.contextmanager
def displacements_seen():
    """A list to which each step in this context adds δ of its structures, ``(n_atoms, 3)``."""
    seen, original = [], Selection.residuals

    def residuals(self, origin):
        seen.append(self.displacement("displaced"))
        return original(self, origin)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Selection, "residuals", residuals)
        yield seen


def direction(loss_of, structures, number, atom):
    """The unit vector ``(3,)`` along which the loss of all structures grows, for one atom."""
    differences = []
    for axis in range(3):
        ends = []
        for sign in (-1.0, 1.0):
            shift = torch.zeros(len(structures[number]), 3, dtype=torch.float64)
            shift[atom, axis] = sign * STEP
            shifted = list(structures)
            shifted[number] = moved(structures[number], shift)
            ends.append(loss_of(shifted))
        differences.append((ends[1] - ends[0]) / (2 * STEP))
    return np.array(differences) / np.linalg.norm(differences)
