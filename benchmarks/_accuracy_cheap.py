"""Energies and forces of ``accuracy.py``'s cheap methods: GFN-xTB, and Kumagai's for silicon.

    python benchmarks/_accuracy_cheap.py FRAMES.xyz METHOD LABELS.npz

Needs ASE, and tblite, or matscipy for silicon, so that an environment of its own may run it.
Written are ``energies`` (n_frames,) in eV and ``forces`` (n_atoms of all frames, 3) in eV/Å;
single atoms are left out.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import ase.io
import numpy as np


def calculator(method: str) -> Any:
    """The calculator of a method: "Kumagai", or a name of tblite's.

    Kumagai's many-body potential of silicon: Comput. Mater. Sci. 39, 457 (2007).
    """
    if method == "Kumagai":
        from matscipy.calculators.manybody import Manybody
        from matscipy.calculators.manybody.explicit_forms import Kumagai
        from matscipy.calculators.manybody.explicit_forms.kumagai import Kumagai_Comp_Mat_Sci_39_Si

        return Manybody(**Kumagai(Kumagai_Comp_Mat_Sci_39_Si))
    from tblite.ase import TBLite

    return TBLite(method=method, accuracy=0.01, verbosity=0)


def main() -> None:
    """Label every frame, and write the file when all are done."""
    source, method, target = sys.argv[1:]
    energies, forces = [], []
    for atoms in ase.io.iread(source, ":"):
        if len(atoms) > 1:
            atoms.calc = calculator(method)
            energies.append(atoms.get_potential_energy())
            forces.append(atoms.get_forces())
    unfinished = Path(target).with_suffix(".unfinished.npz")
    np.savez(unfinished, energies=energies, forces=np.concatenate(forces))
    os.replace(unfinished, target)


if __name__ == "__main__":
    main()
