"""Weak labels: cheap ones plus the mean correction, and how far each is to be trusted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ...frames.reading import Frame
from ..runs import Arrays
from .frame_labels import root_mean_squares
from .offsets import Offsets


@dataclasses.dataclass(frozen=True)
class Corrected:
    """What one correction model makes of the structures.

    Attributes:
        labels: cheap ones plus its correction and offsets, by the structures' keys.
        held_out: training frames that it has not seen.
        offsets: fitted to those that it has seen.
    """

    labels: dict[str, Arrays]
    held_out: list[Frame]
    offsets: Offsets


@dataclasses.dataclass(frozen=True)
class Weak:
    """Weak labels of the pool.

    Attributes:
        frames: those that are labelled.
        labels: of each, with weights and, of several models, their spread.
        distrusted: structures on which the models differ by more than the cheap method is wrong.
        without_energy: number of frames whose energy the training frames leave open.
        spread: root mean square of it over the frames, by label, in eV per atom and eV/Å.
    """

    frames: list[Frame]
    labels: list[dict[str, object]]
    distrusted: list[Frame]
    without_energy: int
    spread: dict[str, float]


def corrected(
    frames: Sequence[Frame],
    cheap: Mapping[str, Arrays],
    predictions: Mapping[str, Arrays],
    offsets: Offsets,
) -> dict[str, Arrays]:
    """Cheap labels plus offsets and a model's correction, of the labels that both give."""
    shifts = offsets(frames)
    found = {}
    for frame, shift in zip(frames, shifts, strict=True):
        low, change = cheap[frame.key], predictions[frame.key]
        labels = {name: low[name] + change[name] for name in low if name in change}
        labels["energy"] = labels["energy"] + shift
        found[frame.key] = labels
    return found


def uncorrected(
    frames: Sequence[Frame], cheap: Mapping[str, Arrays], held_out: list[Frame], offsets: Offsets
) -> Corrected:
    """What a model makes of structures that says nothing: cheap labels plus its offsets."""
    nothing = {f.key: {n: 0.0 * value for n, value in cheap[f.key].items()} for f in frames}
    return Corrected(corrected(frames, cheap, nothing, offsets), held_out, offsets)


def weigh(
    pool: Sequence[Frame],
    models: Sequence[Corrected],
    names: Sequence[str],
    errors: Mapping[str, float],
    corrections: Mapping[str, float],
) -> Weak:
    """The mean of the models, with weights s²/(s² + σ²) from their spread σ.

    A label whose models differ by as much as they are wrong on frames that they have not seen, s,
    has half the weight. It is the inverse of the variance of a label, s² of all and σ² of this one,
    beside that of a label on which the models agree. Where s is not known, the median of σ over
    the pool takes its place. A structure gets an energy only if the frames of every model fix its
    offsets.

    Args:
        pool: structures that all models have labelled.
        models: what they say.
        names: of the labels that are wanted, as far as the models give them.
        errors: s, root mean square errors on held-out frames, by label.
        corrections: errors of the cheap method: where the models differ by more, its label would
            be as good.
    """
    decisive = "forces" if "forces" in corrections else "energy"
    kept, labels, distrusted = [], [], []
    spreads: list[Arrays] = []
    spans = np.all([model.offsets.spans(pool) for model in models], axis=0)
    fixed = [list(names) if spanned else [n for n in names if n != "energy"] for spanned in spans]
    every = [
        _mean_and_spread([model.labels[frame.key] for model in models], these)
        for frame, these in zip(pool, fixed, strict=True)
    ]
    sigmas = [root_mean_squares([spread], [f]) for (_, spread), f in zip(every, pool, strict=True)]
    errors = {**_medians(sigmas), **errors}
    for frame, (means, spread), sigma in zip(pool, every, sigmas, strict=True):
        if sigma.get(decisive, 0.0) > corrections[decisive]:
            distrusted.append(frame)
            continue
        values: dict[str, object] = dict(means)
        if "energy" in spread:
            values["weak_energy_std"] = float(spread["energy"])
        if "forces" in spread:
            values["weak_forces_std"] = np.sqrt(np.square(spread["forces"]).mean(axis=1))
        if spread:
            weights = {name: _weight(errors.get(name), sigma[name]) for name in sigma}
            values |= {f"config_{name}_weight": weight for name, weight in weights.items()}
            values["weight"] = weights.get("forces", weights.get("energy", 1.0))
        kept.append(frame)
        labels.append(values)
        spreads.append(spread)
    n_without = sum("energy" not in values for values in labels)
    return Weak(kept, labels, distrusted, n_without, root_mean_squares(spreads, kept))


def held_out_errors(
    models: Sequence[Corrected], wanted: Mapping[str, Arrays], names: Sequence[str]
) -> dict[str, float]:
    """Root mean square errors on the frames that each model has not seen, together."""
    errors, frames = [], []
    for model in models:
        for frame in model.held_out:
            found, label = model.labels[frame.key], wanted[frame.key]
            errors.append({n: found[n] - label[n] for n in names if n in label and n in found})
            frames.append(frame)
    return root_mean_squares(errors, frames)


def _mean_and_spread(labels: Sequence[Arrays], names: Sequence[str]) -> tuple[Arrays, Arrays]:
    stacks = {n: np.stack([one[n] for one in labels]) for n in names if n in labels[0]}
    means = {name: stack.mean(axis=0) for name, stack in stacks.items()}
    if len(labels) == 1:
        return means, {}
    return means, {name: stack.std(axis=0, ddof=1) for name, stack in stacks.items()}


def _medians(sigmas: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = {name for sigma in sigmas for name in sigma}
    return {name: float(np.median([s[name] for s in sigmas if name in s])) for name in names}


def _weight(error: float | None, spread: float) -> float:
    """s²/(s² + σ²); 1 where there is nothing to compare with."""
    if not error:
        return 1.0
    return round(error**2 / (error**2 + spread**2), 4)
