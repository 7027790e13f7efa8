"""GFN2-xTB energies and forces of the frames of a file, for the rivals in ``accuracy.py``.

    python benchmarks/_accuracy_xtb.py FRAMES.xyz LABELS.npz

Needs tblite and ASE and nothing else, so that an environment of its own may run it. Written are
``energies`` (n_frames,) in eV and ``forces`` (n_atoms of all frames, 3) in eV/Å.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import ase.io
import numpy as np
from tblite.ase import TBLite


def main() -> None:
    """Label every frame, and write the file when all are done."""
    source, target = map(Path, sys.argv[1:])
    energies, forces = [], []
    for atoms in ase.io.iread(source, ":"):
        atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
    unfinished = target.with_suffix(".unfinished.npz")
    np.savez(unfinished, energies=energies, forces=np.concatenate(forces))
    os.replace(unfinished, target)


if __name__ == "__main__":
    main()
