"""The few numbers that stand for an environment's descriptor in a linear design."""

from __future__ import annotations

import dataclasses

import numpy as np

#: components per element, beside a constant and what they leave out
COMPONENTS = 64
#: share of the variance that components may leave out: 1 % of the root mean square
LEFT_OUT = 1e-4
#: of the mean square of descriptors; less is rounding of single precision, not variance
_NO_VARIANCE = 1e-12


@dataclasses.dataclass(frozen=True)
class Reduction:
    """Principal components of one element's descriptors, as few as hold nearly all variance.

    Attributes:
        mean: ``(n_features,)``.
        components: ``(n_features, n_components)``, orthonormal.
        scale: what reduced descriptors are multiplied with, so that the environments from which
            the components were found have a mean square of 1.
    """

    mean: np.ndarray
    components: np.ndarray
    scale: float

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
        size = float(mean @ mean)
        if variance <= _NO_VARIANCE * atoms * size or variance == 0:
            return cls(mean, np.zeros((features, 0)), 1 / np.sqrt(size) if size else 1.0)
        number = min(COMPONENTS, len(matrix))
        values, vectors = eigh(matrix, subset_by_index=(len(matrix) - number, len(matrix) - 1))
        values, vectors = values[::-1], vectors[:, ::-1]
        before = variance - np.concatenate([[0], np.cumsum(values)[:-1]])
        needed = before > LEFT_OUT * variance
        values, vectors = values[needed], vectors[:, needed]
        if features > atoms:
            vectors = centred.T @ vectors / np.sqrt(values)
        return cls(mean, vectors, float(np.sqrt(atoms / variance)))

    @property
    def width(self) -> int:
        """Numbers in a row of the design."""
        return int(self.components.shape[1]) + 2

    def rows(self, descriptors: np.ndarray) -> np.ndarray:
        """Rows of the linear design, ``(n_atoms, 2 + n_components)``, float32.

        They are a constant 1, the components, and the length of what the components leave out:
        small where environments are like those from which the components were found, and large for
        one that is new in a direction that these did not have.
        """
        centred = descriptors - self.mean
        reduced = centred @ self.components
        remainder = np.linalg.norm(centred - reduced @ self.components.T, axis=1)
        others = self.scale * np.hstack([reduced, remainder[:, None]])
        return np.hstack([np.ones((len(others), 1)), others]).astype(np.float32)
