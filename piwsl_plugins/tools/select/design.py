"""The information of structures in linear designs, and the structures that add most to it.

A potential that is linear in an environment's row x, of one design per element, learns from
structures through the matrices A = λI + Σ xxᵀ over their atoms of the element. The information
gained by a structure is the increase of Σ log det A over the elements (D-optimality; Barzdajn and
Race, "Optimal design for interatomic potentials").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from .features import Features

#: λ: directions in which rows are shorter than 1 % of their root mean square say nothing
RIDGE = 1e-4
#: rows of one matrix product
_BLOCK = 200_000
#: gains that are computed together, growing as more turn out to be needed
_FIRST_BATCH, _LARGEST_BATCH = 16, 2048


class Information:
    """The information matrices of structures that are added one by one."""

    def __init__(self, features: Features, ridge: float = RIDGE) -> None:
        """Args: features: of all structures; ridge: λ."""
        self._features = features
        self._matrices = {z: ridge * np.eye(rows.shape[1]) for z, rows in features.rows.items()}
        self._inverse_factors = {z: _inverse_factor(a) for z, a in self._matrices.items()}

    def add(self, structure: int) -> float:
        """Add a structure; returns its gain."""
        gain = self.gain(structure)
        self.add_all([structure])
        return gain

    def add_all(self, structures: Iterable[int]) -> None:
        """Add structures without asking for their gains."""
        changed = set()
        for structure in structures:
            for z, rows in self._features.of(structure):
                exact = rows.astype(np.float64)
                self._matrices[z] += exact.T @ exact
                changed.add(z)
        for z in changed:
            self._inverse_factors[z] = _inverse_factor(self._matrices[z])

    def gain(self, structure: int) -> float:
        """Increase of Σ log det A if the structure were added."""
        return float(self.gains(np.array([structure]))[0])

    def gains(self, structures: np.ndarray) -> np.ndarray:
        """Increase of Σ log det A by each of some structures alone, ``(n,)``."""
        totals = np.zeros(len(structures))
        for z, starts in self._features.starts.items():
            first = starts[structures]
            counts = starts[structures + 1] - first
            for count in np.unique(counts[counts > 0]):
                alike = np.flatnonzero(counts == count)
                for block in np.array_split(alike, -(-len(alike) * count // _BLOCK)):
                    totals[block] += self._gains_of(z, first[block], count)
        return totals

    def _gains_of(self, z: int, first: np.ndarray, count: int) -> np.ndarray:
        """Increase of log det A of an element by ``count`` rows each, beginning at ``first``."""
        rows = self._features.rows[z][first[:, None] + np.arange(count)].astype(np.float64)
        # det(A + XᵀX) / det A = det(1 + XA⁻¹Xᵀ), in the smaller dimension
        scaled = (rows.reshape(-1, rows.shape[2]) @ self._inverse_factors[z].T).reshape(rows.shape)
        turned = scaled.transpose(0, 2, 1)
        small = scaled @ turned if count <= rows.shape[2] else turned @ scaled
        small += np.eye(small.shape[1])
        diagonals = np.diagonal(np.linalg.cholesky(small), axis1=1, axis2=2)
        return np.asarray(2 * np.log(diagonals).sum(axis=1))

    def log_determinant(self) -> float:
        """Σ log det A over the elements."""
        return -2 * sum(
            float(np.log(np.diagonal(factor)).sum()) for factor in self._inverse_factors.values()
        )

    def leverages(self, element: int, last: int) -> np.ndarray:
        """xᵀA⁻¹x of the element's atoms in the first ``last`` structures, ``(n_atoms,)``.

        Up to λ, this is the leverage xᵀ(XᵀX)⁺x where the rows added so far span x, and large where
        they do not; above 1 the linear potential extrapolates.
        """
        factor = self._inverse_factors[element].T.astype(np.float32)
        rows = self._features.rows[element][: self._features.starts[element][last]]
        blocks = [rows[i : i + _BLOCK] @ factor for i in range(0, len(rows), _BLOCK)]
        return np.concatenate(
            [np.einsum("ij,ij->i", block, block) for block in blocks] or [np.empty(0, np.float32)]
        )


def _inverse_factor(matrix: np.ndarray) -> np.ndarray:
    """L⁻¹ of the Cholesky factor A = LLᵀ."""
    from scipy.linalg import cholesky, solve_triangular

    factor = cholesky(matrix, lower=True)
    return np.asarray(solve_triangular(factor, np.eye(len(matrix)), lower=True))


def d_optimal(
    information: Information,
    candidates: Sequence[int],
    number: int,
    advance: Callable[[], None] = lambda: None,
) -> list[int]:
    """Structures, each of which gains most after those before it.

    Gains only fall as structures are added (log det is submodular), so an old gain is an upper
    bound, and the greedy choice is found without computing most of the gains again.

    Args:
        information: of the structures that are there already; the chosen are added to it.
        candidates: the structures; the first of equal gains is taken.
        number: how many.
        advance: told after each choice.
    """
    left = np.asarray(candidates, dtype=int)
    bounds = np.full(len(left), np.inf)
    chosen: list[int] = []
    while len(chosen) < min(number, len(candidates)):
        # without the chosen, which come last
        order = np.argsort(-bounds, kind="stable")[: len(left) - len(chosen)]
        best, position, batch = -np.inf, 0, _FIRST_BATCH
        while position < len(order) and bounds[order[position]] >= best:
            some = order[position : position + batch]
            bounds[some] = information.gains(left[some])
            best = max(best, bounds[some].max())
            position += batch
            batch = min(2 * batch, _LARGEST_BATCH)
        place = int(np.argmax(bounds))
        chosen.append(int(left[place]))
        information.add_all(chosen[-1:])
        bounds[place] = -np.inf
        advance()
    return chosen
