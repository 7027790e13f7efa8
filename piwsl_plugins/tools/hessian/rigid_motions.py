"""Rigid motions of a structure: what they cost, and how one orientation turns into another."""

from __future__ import annotations

import numpy as np

from ...frames.structure import TOLERANCE
from ...labels.hessian_checks import rotations


def rigid_motions(positions: np.ndarray, periodic: bool) -> np.ndarray:
    """Displacements of whole structures: translations, and rotations of isolated ones.

    Args:
        positions: ``(n_atoms, 3)`` in Å.
        periodic: whether the structure is, in any direction.

    Returns:
        ``(3, n_atoms, 3)``, or ``(6, n_atoms, 3)`` with the rotations ω × (r − centre) last.
    """
    translations = np.broadcast_to(np.eye(3)[:, None], (3, len(positions), 3))
    return translations if periodic else np.concatenate([translations, rotations(positions)])


def rotational_residue(
    hessian: np.ndarray, positions: np.ndarray, forces: np.ndarray | None = None
) -> float:
    """Largest |H (ω × r) + ω × F| per Å of r, in eV/Å²: 0 if the Hessian is of these axes.

    Forces turn with the structure, so that H (ω × r) = −ω × F at any point of the energy surface.

    Args:
        hessian: ``(3 n_atoms, 3 n_atoms)`` in eV/Å².
        positions: ``(n_atoms, 3)`` in Å, of an isolated structure.
        forces: ``(n_atoms, 3)`` in eV/Å; None at a stationary point, where they vanish.
    """
    motions = rotations(positions)
    changes = (motions.reshape(3, -1) @ hessian).reshape(motions.shape)
    if forces is not None:
        changes = changes + np.cross(np.eye(3)[:, None], forces[None])
    reach = np.linalg.norm(positions - positions.mean(axis=0), axis=1).max()
    return float(np.abs(changes).max() / reach)


def rotation_between(positions: np.ndarray, target: np.ndarray) -> np.ndarray | None:
    """The rotation that lays a structure on another one (Kabsch), or None if none does.

    Args:
        positions: ``(n_atoms, 3)`` in Å.
        target: likewise, of the same atoms in the same order.

    Returns:
        ``(3, 3)`` matrix R, such that rows ``r @ R`` are in the axes of ``target``; None where a
        component differs by more than 1e-3 Å afterwards.
    """
    centred, goal = positions - positions.mean(axis=0), target - target.mean(axis=0)
    left, _, right = np.linalg.svd(centred.T @ goal)
    handedness = np.sign(np.linalg.det(left @ right))
    rotation = (left * [1.0, 1.0, handedness]) @ right
    return rotation if np.abs(centred @ rotation - goal).max() <= TOLERANCE else None


def turned(hessian: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """A Hessian ``(3 n_atoms, 3 n_atoms)`` in the axes of :func:`rotation_between`."""
    blocks = hessian.reshape(len(hessian) // 3, 3, -1, 3)
    whole: np.ndarray = np.einsum("ca,icjd,db->iajb", rotation, blocks, rotation)
    return whole.reshape(hessian.shape)
