"""Labels of the reference method: Hessians of ethanol's frames, energies and forces of others.

    python benchmarks/_accuracy_pyscf.py FRAMES.xyz FIRST:LAST OUT.xyz

RKS, PBE/def2-SVP with density fitting, as the data folder's ``ethanol_pbe_hessians.xyz``; needs
PySCF, so that an environment of its own may run it. Frames with ``REF_forces`` keep their labels
and get analytic Hessians, ``REF_hessian``, 9N columns per atom in eV/Å²; the largest difference of
the gradient from these forces is printed. Others, such as those of ``piwsl pool``, get
``REF_energy`` and ``REF_forces``. They are written one after the other, so that an interrupted run
goes on.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase.units import Bohr, Hartree


def solve(atoms: ase.Atoms) -> tuple[Any, np.ndarray]:
    """The converged method, and the forces (N, 3) in eV/Å."""
    from pyscf import dft, gto

    geometry = list(zip(atoms.symbols, atoms.positions, strict=True))
    molecule = gto.M(atom=geometry, basis="def2-svp", verbose=0)
    method = dft.RKS(molecule, xc="pbe").density_fit()
    method.grids.level = 4
    method.conv_tol = 1e-10
    method.run()
    if not method.converged:
        raise RuntimeError("the density is not converged")
    return method, -method.nuc_grad_method().kernel() * Hartree / Bohr


def hessian(method: Any) -> np.ndarray:
    """The Hessian (3N, 3N) in eV/Å²."""
    blocks = method.Hessian().kernel() * Hartree / Bohr**2
    n = 3 * len(blocks)
    found = blocks.transpose(0, 2, 1, 3).reshape(n, n)
    return 0.5 * (found + found.T)


def main() -> None:
    """Label frame after frame."""
    source, numbers, target = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    done = {atoms.info["frame"] for atoms in ase.io.read(target, ":")} if target.exists() else set()
    for number in range(*map(int, numbers.split(":"))):
        if number in done:
            continue
        atoms = ase.io.read(source, number)
        method, forces = solve(atoms)
        if "REF_forces" in atoms.arrays:
            difference = np.abs(forces - atoms.arrays["REF_forces"]).max()
            print(f"frame {number}: forces differ by {1e3 * difference:.2f} meV/Å", flush=True)
            atoms.arrays["REF_hessian"] = hessian(method).reshape(len(atoms), -1)
        else:
            atoms.info["REF_energy"] = method.e_tot * Hartree
            atoms.arrays["REF_forces"] = forces
        atoms.info["frame"] = number
        ase.io.write(target, atoms, format="extxyz", append=True)


if __name__ == "__main__":
    main()
