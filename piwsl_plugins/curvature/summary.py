"""What a label file holds, in a few lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

#: eigenvalues below this (eV/Å²) count as negative; the rest is noise around translations
NEGATIVE = -0.05
#: asymmetry relative to the largest element, above which forces are noisy or no gradient
SUSPICIOUS = 0.02


def summarise(path: Path, max_displacement: float, notes: Sequence[str] = ()) -> str:
    """Lines on a label file for the end of a run.

    Args:
        path: the file.
        max_displacement: ε in Å, for the mean curvature of Hessians: of δ uniform in [−ε, ε],
            ½ ⟨δᵀHδ⟩ = ε²/6 · tr H.
        notes: lines to add.
    """
    from ..core.curvature import read_labels

    labels = read_labels(path)
    hessians = [label.hessian for label in labels if label.hessian is not None]
    probed = [label for label in labels if label.curvatures is not None]
    lines = [f"{len(labels)} structures: {len(hessians)} with Hessian, {len(probed)} with probes"]
    if hessians:
        trace = np.array([np.trace(hessian) / len(hessian) for hessian in hessians])
        lowest = [np.linalg.eigvalsh(hessian) for hessian in hessians]
        negative = [int((values < NEGATIVE).sum()) for values in lowest]
        lines += [
            f"  mean curvature at {max_displacement:g} Å: "
            f"{_milli(trace.mean() * max_displacement**2 / 2)} meV/atom",
            f"  mean eigenvalue: {trace.mean():.4g} eV/Å² "
            f"(largest of all: {max(values[-1] for values in lowest):.4g})",
            f"  directions of negative curvature: {np.mean(negative):.2g} per structure "
            f"({max(negative)} at most)",
        ]
        lines += _asymmetry(path, max(np.abs(hessian).max() for hessian in hessians))
    if probed:
        mean = np.mean([label.curvatures.mean() / len(label.numbers) for label in probed])
        size = max(np.abs(label.displacements).max() for label in probed)
        lines.append(f"  mean curvature of probes of up to {size:.2g} Å: {_milli(mean)} meV/atom")
    lines += notes
    lines += [
        f"Labels: {path}",
        f"Use them with --piwsl_pitc_target=curvature --piwsl_curvature_file={path} (MACE), or",
        f"pitc_target: curvature, curvature_file: {path} in the loss of a NequIP config",
    ]
    return "\n".join(lines)


def _asymmetry(path: Path, largest: float) -> list[str]:
    """What the central differences gave before they were symmetrised."""
    with np.load(path) as file:
        if "asymmetry" not in file:
            return []
        worst = np.nanmax(file["asymmetry"])
    lines = [f"  largest asymmetry before symmetrising: {worst:.2g} eV/Å²"]
    if worst > SUSPICIOUS * largest:
        lines.append(
            "  WARNING: that is large; the forces are noisy (try a larger --step) or are not the "
            "gradient of an energy"
        )
    return lines


def _milli(value: float) -> str:
    return f"{1e3 * value:.3g}"
