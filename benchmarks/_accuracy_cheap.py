"""Energies and forces of cheap methods: GFN-xTB, Kumagai's for silicon, foundation models.

    python benchmarks/_accuracy_cheap.py FRAMES.xyz METHOD LABELS.npz

Needs ASE, and tblite, matscipy for silicon, sevenn or chgnet, so that an environment of its own may
run it.
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
    """The calculator of a method: "Kumagai", "SevenNet-0", "CHGNet", or a name of tblite's.

    Kumagai's many-body potential of silicon: Comput. Mater. Sci. 39, 457 (2007).
    """
    if method == "Kumagai":
        from matscipy.calculators.manybody import Manybody
        from matscipy.calculators.manybody.explicit_forms import Kumagai
        from matscipy.calculators.manybody.explicit_forms.kumagai import Kumagai_Comp_Mat_Sci_39_Si

        return Manybody(**Kumagai(Kumagai_Comp_Mat_Sci_39_Si))
    if method == "SevenNet-0":
        from sevenn.calculator import SevenNetCalculator

        return SevenNetCalculator("7net-0")
    if method == "CHGNet":
        from chgnet.model.dynamics import CHGNetCalculator

        return CHGNetCalculator()
    from tblite.ase import TBLite

    return TBLite(method=method, accuracy=0.01, verbosity=0)


def main() -> None:
    """Label every frame, and write the file when all are done."""
    source, method, target = sys.argv[1:]
    energies, forces, cheap = [], [], calculator(method)
    for atoms in ase.io.iread(source, ":"):
        if len(atoms) > 1:
            atoms.calc = cheap
            energies.append(atoms.get_potential_energy())
            forces.append(atoms.get_forces())
    unfinished = Path(target).with_suffix(".unfinished.npz")
    np.savez(unfinished, energies=energies, forces=np.concatenate(forces))
    os.replace(unfinished, target)


if __name__ == "__main__":
    main()
