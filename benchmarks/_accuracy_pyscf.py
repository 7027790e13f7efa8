"""Hessians of the reference method for more frames of ``ethanol_pbe_train.xyz``.

    python benchmarks/_accuracy_pyscf.py FRAMES.xyz FIRST:LAST OUT.xyz

RKS, PBE/def2-SVP with density fitting and analytic Hessians, as the data folder's
``ethanol_pbe_hessians.xyz``; needs PySCF, so that an environment of its own may run it. Written are
the frames with their own energies and forces, and ``REF_hessian``, 9N columns per atom in eV/Å²,
one after the other, so that an interrupted run goes on. The largest difference of the gradient
from the file's forces is printed for each frame.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ase.io
import numpy as np
from ase.units import Bohr, Hartree


def hessian(atoms: ase.Atoms) -> tuple[np.ndarray, np.ndarray]:
    """The Hessian (3N, 3N) in eV/Å², and the forces (N, 3) in eV/Å."""
    from pyscf import dft, gto

    geometry = list(zip(atoms.symbols, atoms.positions, strict=True))
    molecule = gto.M(atom=geometry, basis="def2-svp", verbose=0)
    method = dft.RKS(molecule, xc="pbe").density_fit()
    method.grids.level = 4
    method.conv_tol = 1e-10
    method.run()
    forces = -method.nuc_grad_method().kernel() * Hartree / Bohr
    blocks = method.Hessian().kernel() * Hartree / Bohr**2
    n = 3 * len(atoms)
    found = blocks.transpose(0, 2, 1, 3).reshape(n, n)
    return 0.5 * (found + found.T), forces


def main() -> None:
    """Label frame after frame."""
    source, numbers, target = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    done = {atoms.info["frame"] for atoms in ase.io.read(target, ":")} if target.exists() else set()
    for number in range(*map(int, numbers.split(":"))):
        if number in done:
            continue
        atoms = ase.io.read(source, number)
        found, forces = hessian(atoms)
        difference = np.abs(forces - atoms.arrays["REF_forces"]).max()
        print(f"frame {number}: forces differ by {1e3 * difference:.2f} meV/Å", flush=True)
        atoms.info["frame"] = number
        atoms.arrays["REF_hessian"] = found.reshape(len(atoms), -1)
        ase.io.write(target, atoms, format="extxyz", append=True)


if __name__ == "__main__":
    main()
