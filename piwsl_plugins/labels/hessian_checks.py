"""What tells a Hessian that is not that of its structure: units, order of atoms, axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from ..frames.bonds import bonds
from ..options.settings import LARGEST_NOISE, Hessian
from .hessian_labels import Array, HessianLabel

#: largest eigenvalue (eV/Å²) of structures with covalent bonds, whatever the method: twice the
#: force constant of their stiffest bond, roughly
STRETCHES = (20.0, 250.0)
#: how far outside of that range nothing but units explains
LEEWAY = 3.0
#: to eV/Å²
UNITS = {"hartree/bohr²": 97.1736, "kcal/mol/Å²": 0.0433641}
#: H, B, C, N, O, F, Si, P, S, Cl, Se, Br, I: bonds between two of them are covalent
_COVALENT = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53)
#: two labels of one structure are one if they differ by less, relative to the largest number
ONE_LABEL = 1e-3
#: labels of a file whose units are looked at
LOOKED_AT = 10


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


def _has_covalent_bond(label: HessianLabel) -> bool:
    """Whether two atoms with rows are bonded covalently."""
    first, second, _ = bonds(Atoms(label.numbers, label.positions, cell=label.cell, pbc=label.pbc))
    chosen = np.isin(label.numbers, _COVALENT) & np.isin(np.arange(len(label.numbers)), label.rows)
    return bool((chosen[first] & chosen[second]).any())


def difference_of(label: HessianLabel, other: HessianLabel) -> str | None:
    """What is different in two labels of one structure, or None if they are copies."""
    if not np.array_equal(label.rows, other.rows):
        return "they have rows of other atoms"
    for name in ("hessian", "displacements", "force_changes", "curvatures"):
        one, two = getattr(label, name), getattr(other, name)
        if one is None and two is None:
            continue
        if one is None or two is None or one.shape != two.shape:
            return "one has other probes, or columns of other atoms, than the other"
        largest = max(float(np.abs(one).max()), float(np.abs(two).max()))
        apart = float(np.abs(one - two).max() / largest) if largest else 0.0
        if not apart < ONE_LABEL:
            return f"they differ by {100 * apart:.2g} % of the largest number"
    return None


def translational_residue(label: HessianLabel) -> float | None:
    """Largest |Σ_j H_ij| over the atoms j, in eV/Å²: 0 for exact forces, which ignore translations.

    None for probes, and for the block of a part of the atoms, whose rows need not vanish.
    """
    if label.hessian is None or label.hessian.shape[1] != 3 * len(label.numbers):
        return None
    rows = label.hessian.reshape(len(label.hessian), -1, 3)
    return float(np.abs(rows.sum(axis=1)).max())


def rotational_residue(label: HessianLabel) -> float | None:
    """Largest change of forces per Å that turning the structure cannot explain, in eV/Å².

    Forces turn with an isolated structure, H (ω × r) = −ω × F, at any point of the energy surface.
    Whatever F is, the change of an atom's forces is antisymmetric in ω and its own component. 0
    for exact forces; None for probes, periodic structures, and Hessians of a part of the atoms.
    """
    n = len(label.numbers)
    if label.hessian is None or label.hessian.shape != (3 * n, 3 * n) or n < 2:
        return None
    if label.pbc is not None and np.any(label.pbc):
        return None
    turned = rotations(label.positions)
    changes: Array = (turned.reshape(3, -1) @ label.hessian).reshape(3, n, 3)
    unexplained = 0.5 * (changes + changes.transpose(2, 1, 0))
    centred = label.positions - label.positions.mean(axis=0)
    return float(np.abs(unexplained).max() / np.linalg.norm(centred, axis=1).max())


def unreciprocated(label: HessianLabel) -> float:
    """By how much probes contradict each other, relative to the largest of their curvatures.

    Of any Hessian, δ_l·H δ_k = δ_k·H δ_l: what one probe changes along another is what that one
    changes along the first. 0 for exact changes of forces along small displacements (to 0.1 Å, less
    than 0.1), 1 and more where forces at rest are not taken off.
    """
    if label.displacements is None or label.force_changes is None:
        return 0.0
    n = len(label.displacements)
    products = label.displacements.reshape(n, -1) @ label.force_changes.reshape(n, -1).T
    largest = float(np.abs(np.diagonal(products)).max())
    return float(np.abs(products - products.T).max()) / largest if largest else 0.0


def rotations(positions: Array) -> Array:
    """ω × (r − centre) for ω along x, y, z: ``(3, n_atoms, 3)``, of ``(n_atoms, 3)`` in Å."""
    x, y, z = (positions - positions.mean(axis=0)).T
    turned = np.zeros((3, len(positions), 3))
    turned[0, :, 1], turned[0, :, 2] = -z, y
    turned[1, :, 0], turned[1, :, 2] = z, -x
    turned[2, :, 0], turned[2, :, 1] = -y, x
    return turned


def problem_of(label: HessianLabel, tolerance: float = Hessian.hessian_tolerance) -> str | None:
    """Why a label is refused, in words, or None: the judgement of conversion and of training.

    Args:
        label: probes pass.
        tolerance: ``hessian_tolerance``, relative to the largest element of the Hessian. Two like
            atoms of ethanol exchanged give 0.07 and more, integration grids 0.005, the egg-box
            effect of a coarse grid 0.06.
    """
    if label.hessian is None:
        return None
    found = asymmetry_of(label, tolerance) or rigid_problem_of(label, tolerance)
    if found is None:
        return None
    largest = float(np.abs(label.hessian).max())
    residues = (asymmetry(label), translational_residue(label), rotational_residue(label))
    ratio = max(residue for residue in residues if residue is not None) / largest
    needed = float(np.ceil(100 * ratio) / 100)
    if needed > LARGEST_NOISE:
        return found
    return f"{found}; if it is noise that you know, hessian_tolerance {needed:g} accepts it"


def asymmetry(label: HessianLabel) -> float:
    """Largest |H − Hᵀ| in eV/Å²."""
    return float(np.abs(label.block - label.block.T).max())


def asymmetry_of(label: HessianLabel, tolerance: float = Hessian.hessian_tolerance) -> str | None:
    """What is wrong with a Hessian that is not symmetric; arguments as :func:`problem_of`."""
    if asymmetry(label) <= tolerance * float(np.abs(label.block).max()):
        return None
    return (
        "the Hessian is not symmetric: elements that should be equal differ by "
        f"{asymmetry(label):.3g} eV/Å²; was the order of atoms or columns changed, or are forces "
        "noisy?"
    )


def rigid_problem_of(
    label: HessianLabel, tolerance: float = Hessian.hessian_tolerance
) -> str | None:
    """Why a Hessian cannot belong to the atoms in their order and axes; as :func:`problem_of`."""
    if label.hessian is None:
        return None
    largest = float(np.abs(label.hessian).max())
    for motion, residue in (
        ("moving all atoms together", translational_residue(label)),
        ("turning the molecule", rotational_residue(label)),
    ):
        if residue is not None and residue > tolerance * largest:
            return (
                f"{motion} changes the forces by {residue:.2g} eV/Å², {residue / largest:.0%} of "
                "the largest element, that should be 0; are the atoms or components of the Hessian "
                "in another order or in other axes, is it mass-weighted, or of a part of the "
                "atoms? It must be in eV/Å², x, y, z of the first atom first, in the order and "
                "axes of the structure; 'piwsl hessian' converts what programs write"
            )
    return None


def units_problem_of(labels: Sequence[HessianLabel]) -> tuple[int, str] | None:
    """The number of a label of a file in other units than eV/Å², and why; None if there is none.

    Units are a matter of all Hessians of a file, not of a strange one: most of those looked at.
    """
    numbers = range(0, len(labels), max(1, -(-len(labels) // LOOKED_AT)))
    whole = {n: label for n in numbers if (label := labels[n]).hessian is not None}
    problems = {n: problem for n, label in whole.items() if (problem := unit_problem_of(label))}
    return next(iter(problems.items())) if 2 * len(problems) > len(whole) else None
