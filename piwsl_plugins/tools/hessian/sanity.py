"""What tells a label that cannot be right: size, symmetry, units, sign, and translations."""

from __future__ import annotations

import numpy as np

from ...core import frame_checks
from ...core.hessian_labels import HessianLabel, asymmetry_of

#: largest eigenvalue (eV/Å²) of structures with covalent bonds, whatever the method: twice the
#: force constant of their stiffest bond, roughly
STRETCHES = (20.0, 250.0)
#: how far outside of that range nothing but units explains
LEEWAY = 3.0
#: to eV/Å²
UNITS = {"hartree/bohr²": 97.1736, "kcal/mol/Å²": 0.0433641}
#: H, B, C, N, O, F, Si, P, S, Cl, Se, Br, I: bonds between two of them are covalent
_COVALENT = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53)


def problem_of(label: HessianLabel) -> str | None:
    """What is wrong with a label that was read, in words that follow its file; or None.

    Args:
        label: structure and Hessian, or probes with force changes.
    """
    problem = frame_checks.problem_of(label.numbers, label.positions, label.cell, label.pbc)
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
    return asymmetry_of(label) or unit_problem_of(label)


def unit_problem_of(label: HessianLabel) -> str | None:
    """Why the Hessian of a structure with covalent bonds is in other units than eV/Å², or None."""
    if not _has_covalent_bond(label):
        return None
    block = label.block
    largest = float(np.linalg.eigvalsh(0.5 * (block + block.T))[-1])
    low, high = STRETCHES[0] / LEEWAY, STRETCHES[1] * LEEWAY
    if low <= largest <= high:
        return None
    remedies = [
        f"if it is in {unit}, multiply it by {factor:g}"
        for unit, factor in UNITS.items()
        if low <= largest * factor <= high
    ]
    return (
        f"the largest eigenvalue of the Hessian is {largest:.3g}, but covalent bonds give "
        f"{STRETCHES[0]:g} to {STRETCHES[1]:g} eV/Å²; "
        + (" or ".join(remedies) or "is it in another unit, or mass-weighted?")
    )


def translational_residue(label: HessianLabel) -> float | None:
    """Largest |Σ_j H_ij| over the atoms j, in eV/Å²: 0 for exact forces, which ignore translations.

    None for probes, and for the block of a part of the atoms, whose rows need not vanish.
    """
    if label.hessian is None or label.hessian.shape[1] != 3 * len(label.numbers):
        return None
    rows = label.hessian.reshape(len(label.hessian), -1, 3)
    return float(np.abs(rows.sum(axis=1)).max())


def _problem_of_probes(label: HessianLabel) -> str | None:
    """Why force changes are no answer to their displacements, or None."""
    shape = (len(label.displacements), len(label.numbers), 3)
    if label.displacements.shape != shape or label.force_changes.shape != shape:
        return (
            f"displacements {label.displacements.shape} and forces {label.force_changes.shape} do "
            f"not belong to {len(label.numbers)} atoms"
        )
    if not (np.isfinite(label.displacements).all() and np.isfinite(label.force_changes).all()):
        return "not all displacements and forces are finite"
    work = float((label.displacements * label.force_changes).sum())
    if work > 0:
        return (
            "forces change along the displacements, not against them: are they gradients, or of "
            "another order of atoms?"
        )
    return None


def _has_covalent_bond(label: HessianLabel) -> bool:
    """Whether two atoms with rows are bonded covalently."""
    from ase import Atoms

    from ..bonds import bonds

    first, second, _ = bonds(Atoms(label.numbers, label.positions, cell=label.cell, pbc=label.pbc))
    chosen = np.isin(label.numbers, _COVALENT) & np.isin(np.arange(len(label.numbers)), label.rows)
    return bool((chosen[first] & chosen[second]).any())
