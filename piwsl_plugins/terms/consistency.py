"""PITC and PISC residuals (Takamoto, Zaverkin, Niepert, arXiv 2408.05215, equations 4 to 7).

The paper weights the forces at the two ends of a path with 1 − k and k. Here k is 0 (the form of
the submitted version: the forces at the beginning) or ½ (the trapezoidal rule, of the settings of
the ICML version: forces at the end are given, too).

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
    displaced_forces: Tensor | None = None,
) -> Tensor:
    """Physics-informed Taylor-expansion consistency: E(r+δ) − [E(r) − <δ, (1−k) F(r) + k F(r+δ)>].

    k is ½ where the forces at r+δ are given, else 0. For a conservative model (F = −∇E) with the
    Hessian H and the third derivatives T the residual is (½ − k) δᵀHδ + (1/6 − k/2) T[δ,δ,δ] +
    O(δ⁴): at k = 0 a measure of curvature, at k = ½ −T[δ,δ,δ]/12.

    Args:
        energy: E(r), ``(n_structures,)`` in eV.
        forces: F(r), ``(n_atoms, 3)`` in eV/Å.
        displaced_energy: E(r+δ), ``(n_structures,)`` in eV.
        displacement: δ, ``(n_atoms, 3)`` in Å.
        structure_index: ``(n_atoms,)``, the structure of each atom.
        displaced_forces: F(r+δ), ``(n_atoms, 3)`` in eV/Å, for k = ½.

    Returns:
        ``(n_structures,)`` in eV.
    """
    if displaced_forces is not None:
        forces = 0.5 * (forces + displaced_forces)
    return displaced_energy - (
        energy - work(forces, displacement, structure_index, energy.shape[0])
    )


def symmetric_residual(energy: Tensor, displaced_energy: Tensor, mirrored_energy: Tensor) -> Tensor:
    """Symmetric, force-free form of PITC: ½[E(r+δ) + E(r−δ)] − E(r).

    Not in the paper. For a conservative model this is ½ δᵀHδ + O(δ⁴): the same as
    :func:`pitc_residual` with k = 0, without its third-order term and without forces.

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
    displaced_forces: Tensor | None = None,
) -> Tensor:
    """Physics-informed spatial consistency: PITC from r+δ' to r+δ, a second path through r+δ'.

    E(r+δ) − [E(r+δ') − <δ−δ', (1−k) F(r+δ') + k F(r+δ)>], k as in :func:`pitc_residual`.

    Args:
        waypoint_energy: E(r+δ'), ``(n_structures,)`` in eV.
        waypoint_forces: F(r+δ'), ``(n_atoms, 3)`` in eV/Å.
        displaced_energy: E(r+δ), ``(n_structures,)`` in eV.
        displacement: δ, ``(n_atoms, 3)`` in Å.
        waypoint_displacement: δ', ``(n_atoms, 3)`` in Å.
        structure_index: ``(n_atoms,)``, the structure of each atom.
        displaced_forces: F(r+δ), ``(n_atoms, 3)`` in eV/Å, for k = ½.

    Returns:
        ``(n_structures,)`` in eV.
    """
    return pitc_residual(
        waypoint_energy,
        waypoint_forces,
        displaced_energy,
        displacement - waypoint_displacement,
        structure_index,
        displaced_forces,
    )
