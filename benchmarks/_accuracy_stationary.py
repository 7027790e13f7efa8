"""Two minima and a transition state of ethanol with their Hessians, before ordinary frames.

    python benchmarks/_accuracy_stationary.py HESSIANS.npz DATA_DIR HESSIANS_DIR

GFN2-xTB, as the bundled data; needs tblite. ``HESSIANS.npz`` has labels of the first 150 frames of
``data/ethanol_gfn2_train.xyz``. Written are ``ethanol_stationary_train.xyz``, the three stationary
points and the frames, and ``ethanol_stationary_train.npz``, Hessians of the stationary points and
of the last ten labelled frames, which are for testing only.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ase.io
import numpy as np
from ase.build import molecule
from ase.optimize import BFGS
from tblite.ase import TBLite

from piwsl_plugins.labels.hessian_labels import HessianLabel, read_labels, write_labels

FRAMES = Path(__file__).parents[1] / "data" / "ethanol_gfn2_train.xyz"
TESTED = slice(140, 150)
#: of the torsion C, C, O, H of the hydroxyl group
ANGLES = {"trans": 180.0, "gauche": 60.0, "syn": 0.0}
STEP = 0.005


def xtb() -> TBLite:
    """GFN2-xTB as for the bundled data."""
    return TBLite(method="GFN2-xTB", accuracy=0.01, verbosity=0)


def hessian(atoms: ase.Atoms) -> np.ndarray:
    """Central differences of the forces, (3N, 3N) in eV/Å²."""
    rows = []
    for component in range(3 * len(atoms)):
        forces = []
        for sign in (-1, 1):
            moved = atoms.copy()
            moved.positions.flat[component] += sign * STEP
            moved.calc = xtb()
            forces.append(moved.get_forces().ravel())
        rows.append((forces[0] - forces[1]) / (2 * STEP))
    found = np.array(rows)
    return 0.5 * (found + found.T)


def main() -> None:
    """Optimise, label, and write."""
    labels_file, data, hessians = map(Path, sys.argv[1:])
    frames = [atoms for atoms in ase.io.read(FRAMES, ":") if len(atoms) > 1]
    # with a mirror plane through C, C and O, which an optimisation keeps
    planar = molecule("CH3CH2OH")
    c_methyl, c, o, h = _torsion(planar)
    points, labels = [], []
    for name, angle in ANGLES.items():
        atoms = planar.copy()
        atoms.set_dihedral(c_methyl, c, o, h, angle, indices=[h])
        atoms.calc = xtb()
        BFGS(atoms, logfile=None).run(fmax=1e-4, steps=500)
        # in the order of elements of the frames, so that elements alone tell nothing apart
        order = _order_like(atoms, frames[0])
        point = ase.Atoms(atoms.symbols[order], atoms.positions[order])
        point.calc = xtb()
        point.info |= {"REF_energy": point.get_potential_energy(), "config_type": name}
        point.arrays["REF_forces"] = point.get_forces()
        point.calc = None
        found = hessian(point)
        n_negative = int((np.linalg.eigvalsh(found) < -0.05).sum())
        print(f"{name}: {point.info['REF_energy']:.4f} eV, {n_negative} negative curvatures")
        points.append(point)
        labels.append(HessianLabel(point.numbers, point.positions, hessian=found))
    ase.io.write(data / "ethanol_stationary_train.xyz", points + frames, format="extxyz")
    labels += read_labels(labels_file)[TESTED]
    write_labels(hessians / "ethanol_stationary_train.npz", labels, "GFN2-xTB")


def _torsion(atoms: ase.Atoms) -> tuple[int, int, int, int]:
    """Atoms C, C, O, H of the hydroxyl group's torsion."""
    distances = atoms.get_all_distances()
    o = atoms.symbols.search("O")[0]
    carbons = sorted(atoms.symbols.search("C"), key=lambda i: distances[o, i])
    hydrogens = sorted(atoms.symbols.search("H"), key=lambda i: distances[o, i])
    return carbons[1], carbons[0], o, hydrogens[0]


def _order_like(atoms: ase.Atoms, like: ase.Atoms) -> list[int]:
    """Indices that give ``atoms`` the chemical order of ``like``."""
    found = []
    for one in (atoms, like):
        methyl, c, o, h = _torsion(one)
        distances = one.get_all_distances()
        others = [i for i in one.symbols.search("H") if i != h]
        of_c = sorted(others, key=lambda i: distances[c, i])
        found.append([methyl, c, o, h, *of_c[:2], *of_c[2:]])
    mine, theirs = found
    order = [0] * len(atoms)
    for own, place in zip(mine, theirs, strict=True):
        order[place] = own
    return order


if __name__ == "__main__":
    main()
