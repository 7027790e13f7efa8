"""TiO2 with SevenNet-0 as the reference, for the cells ``6-hessians-solids`` of ``accuracy.py``.

    python benchmarks/_solids_data.py DATA FOLDER

needs sevenn (which brings the model) and this package. The frames are those of ``tio2_train.xyz``
and ``tio2_test.xyz`` in DATA of at most 24 atoms, labelled with SevenNet-0's energies and forces.
Written are ``tio2_sevenn_train.xyz``, whose first frames are cells of six atoms, others have none;
their Hessians, ``tio2_sevenn_train.hessian.npz``; and ``tio2_sevenn_test.xyz``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ase.io
from _labelled_frames import labelled, write
from sevenn.calculator import SevenNetCalculator

from piwsl_plugins.tools.command import main as piwsl

#: cells with Hessians, their size, and the largest of the others
CELLS, SMALL, LARGE = 24, 6, 24
#: of the central differences, in Å: the model is in single precision
STEP = 0.01


def main() -> None:
    """Write the three files."""
    data, folder = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "tio2_sevenn_train.xyz"
    frames = ase.io.read(data / "tio2_train.xyz", ":")
    small = [atoms for atoms in frames if len(atoms) == SMALL][:CELLS]
    others = [atoms for atoms in frames if SMALL < len(atoms) <= LARGE]
    calculator = SevenNetCalculator("7net-0")
    write(source, [labelled(atoms, calculator) for atoms in small + others])
    test = ase.io.read(data / "tio2_test.xyz", ":")
    test = [atoms for atoms in test if len(atoms) <= LARGE]
    write(folder / "tio2_sevenn_test.xyz", [labelled(atoms, calculator) for atoms in test])
    spelled = "sevenn.calculator:SevenNetCalculator"
    out = source.with_suffix(".hessian.npz")
    options = ["--index", f"0:{CELLS}", "--step", str(STEP), "--workers", "1", "--out", str(out)]
    code = piwsl(["hessian", str(source), "--calculator", spelled, *options])
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
