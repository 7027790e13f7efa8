"""PITC and PISC residuals of a model against ε, its curvature, and the symmetry of its Jacobian.

The residuals are those of :mod:`piwsl_plugins.terms`, on displacements that depend on the frame
and the seed alone: every model, in every environment, is measured on the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .....frames.reading import Frame
from ....loaded_calculators import LoadedCalculator
from ...frame_set import FrameSet, spread
from . import ConsistencyOptions

#: displacement of the finite differences of the Jacobian, root mean square per component (Å)
JACOBIAN_STEP = 0.005


def residuals(
    model: LoadedCalculator,
    frames: FrameSet,
    options: ConsistencyOptions,
    seed: int,
    advance: Callable[[], None],
) -> dict[str, Any]:
    """Residuals on ``options.consistency_frames`` frames.

    Args:
        model: the model.
        frames: the frames, from which evenly spaced ones are taken.
        options: of the part.
        seed: of the displacements.
        advance: called after every frame.

    Returns:
        arrays over (frame, ε, draw): ``pitc`` and ``pisc`` (eV); ``work`` = <δ, F> and ``odd`` =
        ½[E(r+δ) − E(r−δ)] + <δ, F> (eV), which is O(ε³) if forces are the gradient;
        ``curvature`` = [E(r+δ) + E(r−δ) − 2E(r)] / |δ|² (eV/Å²). Beside them ``frame``,
        ``n_atoms``, ``epsilon`` (Å), and per frame ``antisymmetric`` and ``symmetric``
        (eV²/Å⁴, see :func:`_jacobian`).
    """
    chosen = spread(frames.frames, options.consistency_frames)
    found: dict[str, list[Any]] = {
        name: []
        for name in ("pitc", "pisc", "work", "odd", "curvature", "antisymmetric", "symmetric")
    }
    for index in chosen:
        for name, value in _frame(model, frames.frames[index], options, seed).items():
            found[name].append(value)
        advance()
    return {
        "frame": chosen,
        "n_atoms": [len(frames.frames[index].atoms) for index in chosen],
        "epsilon": list(options.epsilons),
        **found,
    }


def _frame(
    model: LoadedCalculator, frame: Frame, options: ConsistencyOptions, seed: int
) -> dict[str, Any]:
    import torch

    from .....terms.consistency import pisc_residual, pitc_residual, work
    from .....terms.displacements import epoch_keys, geometry_keys, uniform

    atoms = frame.atoms
    one_structure = torch.zeros(len(atoms), dtype=torch.long)

    def point(displacement: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        moved = atoms.copy()
        moved.positions += displacement.numpy()
        evaluation = model.evaluate(moved, f"{frame.where}, displaced")
        energy = torch.tensor([evaluation.energy], dtype=torch.float64)
        return energy, torch.from_numpy(evaluation.forces)

    energy, forces = point(torch.zeros(len(atoms), 3, dtype=torch.float64))
    geometry = geometry_keys(torch.from_numpy(atoms.positions), [len(atoms)])
    shape = (len(options.epsilons), options.draws)
    found = {name: np.zeros(shape) for name in ("pitc", "pisc", "work", "odd", "curvature")}
    for place in np.ndindex(shape):
        keys = epoch_keys(geometry, seed, epoch=place[1])
        delta, waypoint = (
            uniform(keys, stream, [len(atoms)], options.epsilons[place[0]])
            for stream in ("displaced", "waypoint")
        )
        forward, _ = point(delta)
        backward, _ = point(-delta)
        via, via_forces = point(waypoint)
        done = work(forces, delta, one_structure, 1)
        values = {
            "pitc": pitc_residual(energy, forces, forward, delta, one_structure),
            "pisc": pisc_residual(via, via_forces, forward, delta, waypoint, one_structure),
            "work": done,
            "odd": 0.5 * (forward - backward) + done,
            "curvature": (forward + backward - 2 * energy) / delta.square().sum(),
        }
        for name, value in values.items():
            found[name][place] = value.item()
    antisymmetric, symmetric = _jacobian(model, frame, options.draws, seed)
    return {**found, "antisymmetric": antisymmetric, "symmetric": symmetric}


def _jacobian(model: LoadedCalculator, frame: Frame, draws: int, seed: int) -> tuple[float, float]:
    """Mean of (uᵀ(J − Jᵀ)v)² and of (uᵀ(J + Jᵀ)v)² over random directions u and v.

    J = ∂F/∂r by central differences. For independent components of variance 1 these are the
    squared Frobenius norms of J − Jᵀ and J + Jᵀ, at a cost that does not grow with the number
    of atoms. Conservative forces have J = Jᵀ.
    """
    rng = np.random.default_rng(seed)

    def product(direction: np.ndarray) -> np.ndarray:
        ends: list[np.ndarray] = []
        for sign in (1.0, -1.0):
            moved = frame.atoms.copy()
            moved.positions += sign * JACOBIAN_STEP * direction
            ends.append(model.evaluate(moved, f"{frame.where}, displaced").forces)
        change: np.ndarray = ends[0] - ends[1]
        return change / (2 * JACOBIAN_STEP)

    antisymmetric, symmetric = [], []
    for _ in range(draws):
        u, v = rng.standard_normal((2, len(frame.atoms), 3))
        first, second = np.sum(u * product(v)), np.sum(v * product(u))
        antisymmetric.append((first - second) ** 2)
        symmetric.append((first + second) ** 2)
    return float(np.mean(antisymmetric)), float(np.mean(symmetric))
