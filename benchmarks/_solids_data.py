"""TiO2 with SevenNet-0 as the reference, for the cells ``6-hessians-solids`` of ``accuracy.py``.

    python benchmarks/_solids_data.py DATA FOLDER

needs sevenn (which brings the model) and this package. The frames are those of ``tio2_train.xyz``
and ``tio2_test.xyz`` in DATA of at most 24 atoms, labelled with SevenNet-0's energies and forces.
Written are ``tio2_sevenn_train.xyz``, whose first frames are cells of six atoms, others have none;
their Hessians, ``tio2_sevenn_train.hessian.npz``; and ``tio2_sevenn_test.xyz``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import ase
import ase.io
from sevenn.calculator import SevenNetCalculator

from piwsl_plugins.tools.command import main as piwsl

#: cells with Hessians, their size, and the largest of the others
CELLS, SMALL, LARGE = 24, 6, 24
#: of the central differences, in Å: the model is in single precision
STEP = 0.01


def labelled(frames: list[ase.Atoms], target: Path) -> None:
    """Write frames with labels of SevenNet-0, when all are done."""
    calculator = SevenNetCalculator("7net-0")
    found = []
    for source in frames:
        atoms = ase.Atoms(source.numbers, source.positions, cell=source.cell, pbc=source.pbc)
        atoms.calc = calculator
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.calc = None
        found.append(atoms)
    unfinished = target.with_suffix(".unfinished")
    ase.io.write(unfinished, found, format="extxyz")
    os.replace(unfinished, target)


def main() -> None:
    """Write the three files."""
    data, folder = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    frames = ase.io.read(data / "tio2_train.xyz", ":")
    small = [atoms for atoms in frames if len(atoms) == SMALL][:CELLS]
    others = [atoms for atoms in frames if SMALL < len(atoms) <= LARGE]
    labelled(small + others, folder / "tio2_sevenn_train.xyz")
    test = ase.io.read(data / "tio2_test.xyz", ":")
    test = [atoms for atoms in test if len(atoms) <= LARGE]
    labelled(test, folder / "tio2_sevenn_test.xyz")
    source, calculator = folder / "tio2_sevenn_train.xyz", "sevenn.calculator:SevenNetCalculator"
    out = source.with_suffix(".hessian.npz")
    options = ["--index", f"0:{CELLS}", "--step", str(STEP), "--workers", "1", "--out", str(out)]
    code = piwsl(["hessian", str(source), "--calculator", calculator, *options])
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
