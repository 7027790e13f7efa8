"""What a label file holds, in a few lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...labels.hessian_checks import (
    problem_of,
    rotational_residue,
    translational_residue,
    unit_problem_of,
)
from ...labels.hessian_labels import HessianLabel
from ...options.settings import Hessian
from .frequencies import imaginary_modes
from .label_file import largest_asymmetry, read

#: number of imaginary modes of each claim about the structures
EXPECTED = {"minimum": 0, "saddle": 1}
#: warnings of one kind that are spelt out
_SHOWN = 5
#: eigenvalues below this (eV/Å²) count as negative; the rest is noise around translations
NEGATIVE = -0.05


def summarise(
    path: Path,
    max_displacement: float,
    notes: Sequence[str] = (),
    tolerance: float = Hessian.hessian_tolerance,
) -> str:
    """Lines on a label file for the end of a run.

    Args:
        path: the file.
        max_displacement: ε in Å, for the mean curvature of Hessians: of δ uniform in [−ε, ε],
            ½ ⟨δᵀHδ⟩ = ε²/6 · tr H.
        notes: lines to add.
        tolerance: ``hessian_tolerance`` with which the labels were accepted.
    """
    labels = read(path)
    whole = [label for label in labels if label.hessian is not None]
    probed = [label for label in labels if label.hessian is None]
    partial = sum(label.atoms is not None for label in whole)
    some = f" ({partial} of a part of the atoms)" if partial else ""
    lines = [
        f"{len(labels)} structures: {len(whole)} with Hessian{some}, {len(probed)} with probes",
        "  units: Hessians in eV/Å², displacements in Å, force changes in eV/Å, curvatures in eV",
    ]
    if whole:
        lines += _hessians(whole, max_displacement) + _asymmetry(path, whole)
        lines += _warning("refuses", map(unit_problem_of, whole))
        refused = [problem_of(label, tolerance) for label in whole]
        lines += _warning("refuses", refused)
        accepted = [label for label, problem in zip(whole, refused, strict=True) if not problem]
        with_it = f"accepts with hessian_tolerance {tolerance:g}"
        lines += _warning(with_it, map(problem_of, accepted))
    if probed:
        mean = np.mean([_curvatures(label).mean() / len(label.numbers) for label in probed])
        size = max(np.abs(np.asarray(label.displacements)).max() for label in probed)
        lines.append(f"  mean curvature of probes of up to {size:.2g} Å: {_milli(mean)} meV/atom")
    lines += [*notes, f"Labels: {path}"]
    return "\n".join(lines)


def how_to_train(
    path: Path,
    of_supercells: bool = False,
    frames: Path | None = None,
    given: Mapping[str, Any] | None = None,
) -> str:
    """The last line of a run: what to do with what it has written.

    Args:
        path: the label file.
        of_supercells: whether it labels supercells, which are hardly in the training data.
        frames: file with these supercells, if one was written.
        given: options of training with which the labels were accepted.
    """
    more = {"hessian_file": path, **(given or {})}
    if of_supercells and frames is None:
        return (
            "Run this again with --frames FILE.xyz --overwrite and train with FILE.xyz as pool, "
            "unless these supercells are in your training data"
        )
    if of_supercells:
        more["pool_file"] = frames
    flags = " ".join(f"--piwsl_{name}={value}" for name, value in more.items())
    lines = ", ".join(f"{name}: {value}" for name, value in more.items())
    return (
        f"Train with --loss=piwsl {flags} (mace_run_train), or with {lines} in the loss of a "
        "config (nequip-train)"
    )


def unexpected_modes(
    labels: Sequence[HessianLabel], where: Sequence[str], expected: str
) -> list[str]:
    """Warnings of Hessians with another number of imaginary modes than claimed.

    Args:
        labels: probes are passed over.
        where: the frame or file of each label.
        expected: of :data:`EXPECTED`.
    """
    counts = [
        (place, imaginary_modes(label))
        for place, label in zip(where, labels, strict=True)
        if label.hessian is not None
    ]
    lines = [
        f"  WARNING: {place}: imaginary modes: {count}, but a {expected} has {EXPECTED[expected]}; "
        "optimise it further, or leave it out"
        for place, count in counts
        if count != EXPECTED[expected]
    ]
    more = len(lines) - _SHOWN
    return lines[:_SHOWN] + ([f"  WARNING: and {more} more"] if more > 0 else [])


def _warning(what: str, problems: Iterable[str | None]) -> list[str]:
    """A line on what training does with structures that have a problem, with the first of them."""
    found = [problem for problem in problems if problem]
    if not found:
        return []
    return [f"  WARNING, {len(found)} structures, which training {what}: {found[0]}"]


def _hessians(labels: Sequence[HessianLabel], max_displacement: float) -> list[str]:
    blocks = [label.block for label in labels]
    trace = np.array([np.trace(block) / len(block) for block in blocks])
    eigenvalues = [np.linalg.eigvalsh(block) for block in blocks]
    negative = [int((values < NEGATIVE).sum()) for values in eigenvalues]
    lines = [
        f"  mean curvature at {max_displacement:g} Å: "
        f"{_milli(trace.mean() * max_displacement**2 / 2)} meV/atom",
        f"  mean eigenvalue: {trace.mean():.4g} eV/Å² "
        f"(largest of all: {max(values[-1] for values in eigenvalues):.4g})",
        f"  directions of negative curvature: {np.mean(negative):.2g} per structure "
        f"({max(negative)} at most)",
    ]
    for what, residue_of in (
        ("sum of a row over the atoms", translational_residue),
        ("change of forces by turning that no forces explain", rotational_residue),
    ):
        residues = [residue for residue in map(residue_of, labels) if residue is not None]
        if residues:
            lines.append(f"  largest {what} (0 is exact): {max(residues):.2g} eV/Å²")
    return lines


def _asymmetry(path: Path, labels: Sequence[HessianLabel]) -> list[str]:
    """What the central differences gave before they were symmetrised."""
    worst = largest_asymmetry(path)
    if worst is None:
        return []
    lines = [f"  largest asymmetry before symmetrising: {worst:.2g} eV/Å²"]
    if worst > Hessian.hessian_tolerance * max(
        np.abs(np.asarray(label.hessian)).max() for label in labels
    ):
        lines.append(
            "  WARNING: that is large; the forces are noisy (try a larger --step) or are not the "
            "gradient of an energy"
        )
    return lines


def _curvatures(label: HessianLabel) -> np.ndarray:
    """½δᵀHδ along each probe, in eV; of force changes −½ δ·ΔF."""
    if label.curvatures is not None:
        return label.curvatures
    displacements, changes = np.asarray(label.displacements), np.asarray(label.force_changes)
    curvatures: np.ndarray = -0.5 * (displacements * changes).sum(axis=(1, 2))
    return curvatures


def _milli(value: float) -> str:
    return f"{1e3 * value:.3g}"
