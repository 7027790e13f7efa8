"""Consistency of a model: residuals against ε, exponents, curvature, conservativeness."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy.stats import linregress

from ...part import Estimated
from ...resampling import Estimate, Ratio


@dataclasses.dataclass(frozen=True)
class Residuals:
    """Residuals over (frame, ε, draw); see :mod:`.measure`.

    Attributes:
        epsilon: ``(n_epsilon,)`` in Å.
        n_atoms: ``(n_frames,)``.
        pitc: in meV per atom.
        pisc: in meV per atom.
        work: in eV.
        odd: in eV.
        curvature: in eV/Å².
        antisymmetric: ``(n_frames,)`` in eV²/Å⁴.
        symmetric: ``(n_frames,)`` in eV²/Å⁴.
    """

    epsilon: np.ndarray
    n_atoms: np.ndarray
    pitc: np.ndarray
    pisc: np.ndarray
    work: np.ndarray
    odd: np.ndarray
    curvature: np.ndarray
    antisymmetric: np.ndarray
    symmetric: np.ndarray

    @property
    def middle(self) -> int:
        """Index of the ε at which single numbers are quoted: the one nearest to 0.04 Å."""
        return int(np.argmin(np.abs(np.log(self.epsilon / 0.04))))


def residuals_of(content: dict[str, Any]) -> Residuals:
    """From the part on disk."""
    names = [field.name for field in dataclasses.fields(Residuals)]
    arrays = {name: np.array(content[name], dtype=float) for name in names}
    per_atom = 1000 / arrays["n_atoms"][:, None, None]
    return Residuals(
        **{**arrays, "pitc": arrays["pitc"] * per_atom, "pisc": arrays["pisc"] * per_atom}
    )


def rms(residual: np.ndarray) -> list[Ratio]:
    """Root mean square over frames and draws, for each ε."""
    return [
        Ratio.over((residual[:, index] ** 2).mean(axis=-1), 1, root=True)
        for index in range(residual.shape[1])
    ]


def exponent(epsilon: np.ndarray, residual: np.ndarray) -> Estimate:
    """Slope of log RMS residual against log ε, with the interval of the least-squares fit.

    2 for a conservative model (curvature), 1 if forces are not the gradient of the energy, 0
    for noise. NaN with fewer than two ε, or if a residual vanishes.
    """
    sizes = np.array([ratio.value for ratio in rms(residual)])
    if len(epsilon) < 2 or not (sizes > 0).all():
        return Estimate(np.nan)
    fit = linregress(np.log(epsilon), np.log(sizes))
    if len(epsilon) < 3:
        return Estimate(float(fit.slope))
    half = float(1.96 * fit.stderr)
    return Estimate(float(fit.slope), float(fit.slope) - half, float(fit.slope) + half)


def ratios(found: Residuals) -> dict[str, Ratio]:
    """The quantities that are ratios of sums over frames, at the middle ε.

    ``jacobian_asymmetry`` is ‖J − Jᵀ‖ / ‖J + Jᵀ‖, ``energy_force_mismatch`` the root mean square
    of the part of ½[E(r+δ) − E(r−δ)] + <δ, F> that is linear in δ, relative to that of <δ, F>.
    """
    linear, work = _linear_mismatch(found)
    return {
        "pitc_rms": rms(found.pitc)[found.middle],
        "pisc_rms": rms(found.pisc)[found.middle],
        "curvature_mean": Ratio.over(found.curvature[:, found.middle].mean(axis=-1), 1),
        "jacobian_asymmetry": Ratio.over(found.antisymmetric, found.symmetric, root=True),
        "energy_force_mismatch": Ratio.over(
            (linear**2).sum(axis=-1), (work**2).sum(axis=-1), root=True
        ),
    }


def by_epsilon(found: Residuals, estimated: Estimated) -> list[dict[str, Any]]:
    """Root mean square residuals at each ε, for ``summary.json``."""
    pairs = zip(found.epsilon, rms(found.pitc), rms(found.pisc), strict=True)
    return [
        {"epsilon": float(epsilon), **estimated({"pitc_rms": pitc, "pisc_rms": pisc})}
        for epsilon, pitc, pisc in pairs
    ]


def _linear_mismatch(found: Residuals) -> tuple[np.ndarray, np.ndarray]:
    """Slopes in ε of the odd part of the energy beyond the work, and of the work.

    The odd part is aε + bε³ along one direction, a = 0 for a conservative model; the two
    smallest ε, whose directions are the same, give a. With a single ε b is taken as 0.
    """
    order = np.argsort(found.epsilon)
    small = found.epsilon[order[0]]
    odd, work = found.odd[:, order[0]] / small, found.work[:, order[0]] / small
    if len(order) > 1:
        ratio = (found.epsilon[order[1]] / small) ** 2
        odd = (ratio * odd - found.odd[:, order[1]] / found.epsilon[order[1]]) / (ratio - 1)
    return odd, work


def curvature_ratio(found: Residuals, first: Residuals) -> Ratio | None:
    """Slope of a model's curvatures against the first model's, on the same displacements."""
    if found.curvature.shape != first.curvature.shape:
        return None
    own, other = (m.curvature[:, m.middle] for m in (found, first))
    return Ratio.over((own * other).sum(axis=-1), (other**2).sum(axis=-1))
