"""Energies and forces of ``accuracy.py``'s cheap methods: GFN2-xTB, and Kumagai's for silicon.

    python benchmarks/_accuracy_cheap.py FRAMES.xyz LABELS.npz

Needs ASE, and tblite, or matscipy for silicon, so that an environment of its own may run it.
Written are ``energies`` (n_frames,) in eV and ``forces`` (n_atoms of all frames, 3) in eV/Å.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np


def kumagai_silicon() -> Any:
    """Kumagai's many-body potential of silicon, Comput. Mater. Sci. 39, 457 (2007)."""
    from matscipy.calculators.manybody import Manybody
    from matscipy.calculators.manybody.explicit_forms import Kumagai
    from matscipy.calculators.manybody.explicit_forms.kumagai import Kumagai_Comp_Mat_Sci_39_Si

    return Manybody(**Kumagai(Kumagai_Comp_Mat_Sci_39_Si))


def cheap_calculator(atoms: ase.Atoms) -> Any:
    """The cheap method for a structure."""
    if set(atoms.symbols) == {"Si"}:
        return kumagai_silicon()
    from tblite.ase import TBLite

    return TBLite(method="GFN2-xTB", verbosity=0)


def main() -> None:
    """Label every frame, and write the file when all are done."""
    source, target = map(Path, sys.argv[1:])
    energies, forces = [], []
    for atoms in ase.io.iread(source, ":"):
        atoms.calc = cheap_calculator(atoms)
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
    unfinished = target.with_suffix(".unfinished.npz")
    np.savez(unfinished, energies=energies, forces=np.concatenate(forces))
    os.replace(unfinished, target)


if __name__ == "__main__":
    main()
