"""What tells a label that cannot be right, where it is read: size, symmetry, units, sign."""

from __future__ import annotations

import numpy as np

from ...frames import checks
from ...labels.hessian_checks import asymmetry_of, unit_problem_of
from ...labels.hessian_labels import HessianLabel


def problem_of(label: HessianLabel) -> str | None:
    """What is wrong with a label that was read, in words that follow its file; or None.

    Args:
        label: structure and Hessian, or probes with force changes.
    """
    problem = malformed(label)
    if problem is not None or label.hessian is None:
        return problem
    return asymmetry_of(label) or unit_problem_of(label)


def malformed(label: HessianLabel) -> str | None:
    """What is wrong with structure, sizes and numbers of a label, before they are compared."""
    problem = checks.problem_of(label.numbers, label.positions, label.cell, label.pbc)
    if problem is not None:
        return problem
    if label.hessian is None:
        return _problem_of_probes(label)
    n_rows, n_columns = 3 * len(label.rows), 3 * len(label.numbers)
    if label.hessian.shape not in ((n_rows, n_rows), (n_rows, n_columns)):
        return (
            f"a Hessian of shape {label.hessian.shape} does not belong to {len(label.rows)} of "
            f"{len(label.numbers)} atoms, which have ({n_rows}, {n_rows})"
        )
    if not np.isfinite(label.hessian).all():
        return "not all elements of the Hessian are finite"
    return None


def _problem_of_probes(label: HessianLabel) -> str | None:
    """Why force changes are no answer to their displacements, or None."""
    displacements, changes = np.asarray(label.displacements), np.asarray(label.force_changes)
    shape = (len(displacements), len(label.numbers), 3)
    if displacements.shape != shape or changes.shape != shape:
        return (
            f"displacements {displacements.shape} and forces {changes.shape} do "
            f"not belong to {len(label.numbers)} atoms"
        )
    if not (np.isfinite(displacements).all() and np.isfinite(changes).all()):
        return "not all displacements and forces are finite"
    work = float((displacements * changes).sum())
    if work > 0:
        return (
            "forces change along the displacements, not against them: are they gradients, or of "
            "another order of atoms?"
        )
    return None
