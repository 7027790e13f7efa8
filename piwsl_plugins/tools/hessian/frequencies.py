"""Harmonic frequencies of a label: to compare with those of a program, and to count saddles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import units

from ...labels.hessian_labels import HessianLabel
from .rigid_motions import rigid_motions

#: largest difference in cm⁻¹; below :data:`SOFT`, where programs treat rotations differently, more
TOLERANCE, SOFT, SOFT_TOLERANCE = 5.0, 300.0, 50.0
#: singular values of rotations below this, of the largest, are those of linear molecules
LINEAR = 1e-3
#: programs differ in whether molecules with all atoms within this (Å) of a line are linear
NEARLY_LINEAR = 0.01
#: modes below this (cm⁻¹) are imaginary; nearer to 0 is noise
IMAGINARY = -30.0
#: wavenumber in cm⁻¹ of the eigenvalue 1 eV/(Å² u)
WAVENUMBER = units._hbar * 1e10 / np.sqrt(units._e * units._amu) / units.invcm


def frequencies(label: HessianLabel, masses: np.ndarray, n_rigid: int | None = None) -> np.ndarray:
    """Harmonic frequencies, without translations and rotations of whole structures.

    Args:
        label: with a Hessian; of a part of the atoms, the others stay where they are.
        masses: of all atoms, ``(n_atoms,)`` in u.
        n_rigid: number of rigid motions to take out; None for those that there are.

    Returns:
        ``(n_modes,)`` in cm⁻¹, ascending; imaginary ones are negative.
    """
    root = np.repeat(np.sqrt(masses[label.rows]), 3)
    weighted = 0.5 * (label.block + label.block.T) / np.outer(root, root)
    if label.atoms is None:
        periodic = label.pbc is not None and bool(np.any(label.pbc))
        motions = rigid_motions(label.positions, periodic).reshape(-1, len(root)) * root
        _, sizes, basis = np.linalg.svd(motions)
        vibrations = basis[(sizes > LINEAR * sizes[0]).sum() if n_rigid is None else n_rigid :].T
        weighted = vibrations.T @ weighted @ vibrations
    squares = np.linalg.eigvalsh(weighted)
    frequencies: np.ndarray = np.sign(squares) * np.sqrt(np.abs(squares)) * WAVENUMBER
    return frequencies


def imaginary_modes(label: HessianLabel) -> int:
    """Number of imaginary modes of a label with a Hessian."""
    from ase.data import atomic_masses

    return int((frequencies(label, atomic_masses[label.numbers]) < IMAGINARY).sum())


def disagreement(
    label: HessianLabel, given: np.ndarray, masses: Sequence[np.ndarray]
) -> str | None:
    """Why the frequencies of a program are not those of a Hessian, in words; None if they are.

    Args:
        label: with the Hessian.
        given: in cm⁻¹, imaginary ones negative; zeros of rigid motions may be among them.
        masses: choices of the masses, one of which the program has used.
    """
    differences = []
    for choice in masses:
        for n_rigid in _numbers_of_rigid_motions(label):
            own = frequencies(label, choice, n_rigid)
            if len(given) < len(own):
                continue  # a program that prints some of its modes
            # zeros of rigid motions are the smallest
            stiffest = np.argsort(-np.abs(given), kind="stable")[: len(own)]
            theirs = np.sort(given[stiffest])
            allowed = np.where(np.abs(theirs) > SOFT, TOLERANCE, SOFT_TOLERANCE)
            excess = np.abs(own - theirs) / allowed
            if excess.max() <= 1:
                return None
            worst = int(excess.argmax())
            differences.append((excess.max(), own[worst], theirs[worst]))
    if not differences:
        return None
    _, own_mode, their_mode = min(differences)
    return (
        f"the Hessian has a frequency of {own_mode:.1f} cm⁻¹ where the file gives "
        f"{their_mode:.1f} cm⁻¹; its elements may be in another order, unit or order of atoms"
    )


def _numbers_of_rigid_motions(label: HessianLabel) -> tuple[int | None, ...]:
    """What programs may have taken out: 5 or 6 motions of a molecule that is nearly linear."""
    if label.atoms is not None or len(label.numbers) < 3 or bool(np.any(label.pbc)):
        return (None,)
    centred = label.positions - label.positions.mean(axis=0)
    axis = np.linalg.svd(centred)[2][0]
    off = np.linalg.norm(centred - np.outer(centred @ axis, axis), axis=1).max()
    return (5, 6) if 1e-8 < off <= NEARLY_LINEAR else (None,)
