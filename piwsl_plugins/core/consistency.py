"""PITC and PISC residuals (Takamoto, Zaverkin, Niepert, arXiv 2408.05215, section 3).

Every function takes any number of structures of any sizes, stacked along the atom axis;
``structure_index`` says to which structure each atom belongs. Sums are per structure.
Energies in eV, forces in eV/Å, displacements in Å. All functions are differentiable in
energies and forces, on any device and in any floating-point dtype.
"""

from __future__ import annotations

from torch import Tensor


def work(
    forces: Tensor, displacement: Tensor, structure_index: Tensor, n_structures: int
) -> Tensor:
    """Work <δ, F> of the forces along the displacement, summed per structure.

    Args:
        forces: ``(n_atoms, 3)`` in eV/Å.
        displacement: ``(n_atoms, 3)`` in Å.
        structure_index: ``(n_atoms,)``, integer, values in ``[0, n_structures)``.
        n_structures: number of structures.

    Returns:
        ``(n_structures,)`` in eV; 0 for a structure without atoms.
    """
    per_atom = (displacement * forces).sum(dim=-1)
    return per_atom.new_zeros(n_structures).index_add(0, structure_index, per_atom)


def pitc_residual(
    energy: Tensor,
    forces: Tensor,
    displaced_energy: Tensor,
    displacement: Tensor,
    structure_index: Tensor,
) -> Tensor:
    """Physics-informed Taylor-expansion consistency: E(r+δ) − [E(r) − <δ, F(r)>].

    For a conservative model (F = −∇E) this is ½ δᵀHδ + O(δ³), H being the model's Hessian.

    Args:
        energy: E(r), ``(n_structures,)`` in eV.
        forces: F(r), ``(n_atoms, 3)`` in eV/Å.
        displaced_energy: E(r+δ), ``(n_structures,)`` in eV.
        displacement: δ, ``(n_atoms, 3)`` in Å.
        structure_index: ``(n_atoms,)``, the structure of each atom.

    Returns:
        ``(n_structures,)`` in eV.
    """
    return displaced_energy - (
        energy - work(forces, displacement, structure_index, energy.shape[0])
    )


def symmetric_residual(energy: Tensor, displaced_energy: Tensor, mirrored_energy: Tensor) -> Tensor:
    """Symmetric, force-free form of PITC: ½[E(r+δ) + E(r−δ)] − E(r).

    For a conservative model this is ½ δᵀHδ + O(δ⁴): the same as :func:`pitc_residual`, without
    its third-order term and without forces.

    Args:
        energy: E(r), ``(n_structures,)`` in eV.
        displaced_energy: E(r+δ), ``(n_structures,)`` in eV.
        mirrored_energy: E(r−δ), ``(n_structures,)`` in eV.

    Returns:
        ``(n_structures,)`` in eV.
    """
    return 0.5 * (displaced_energy + mirrored_energy) - energy


def pisc_residual(
    waypoint_energy: Tensor,
    waypoint_forces: Tensor,
    displaced_energy: Tensor,
    displacement: Tensor,
    waypoint_displacement: Tensor,
    structure_index: Tensor,
) -> Tensor:
    """Physics-informed spatial consistency: E(r+δ) − [E(r+δ') − <δ−δ', F(r+δ')>].

    The point r+δ is reached on a second path, through the waypoint r+δ'.

    Args:
        waypoint_energy: E(r+δ'), ``(n_structures,)`` in eV.
        waypoint_forces: F(r+δ'), ``(n_atoms, 3)`` in eV/Å.
        displaced_energy: E(r+δ), ``(n_structures,)`` in eV.
        displacement: δ, ``(n_atoms, 3)`` in Å.
        waypoint_displacement: δ', ``(n_atoms, 3)`` in Å.
        structure_index: ``(n_atoms,)``, the structure of each atom.

    Returns:
        ``(n_structures,)`` in eV.
    """
    return pitc_residual(
        waypoint_energy,
        waypoint_forces,
        displaced_energy,
        displacement - waypoint_displacement,
        structure_index,
    )
