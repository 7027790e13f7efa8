"""Data of other elements than the bundled ones: crystals of copper and gold, by ASE's EMT."""

from pathlib import Path

import ase.io
import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT

ELEMENTS = ("Cu", "Au")


def write_alloys(folder: Path, n_frames: int = 6) -> None:
    """Write ``train.xyz``, ``valid.xyz`` and ``test.xyz`` with energies (eV) and forces (eV/Å)."""
    random = np.random.default_rng(0)
    for part in ("train", "valid", "test"):
        frames = []
        for _ in range(n_frames):
            atoms = bulk("Cu", "fcc", a=3.75, cubic=True)
            atoms.symbols[0] = "Au"
            atoms.rattle(0.05, rng=random)
            atoms.calc = EMT()
            atoms.info["REF_energy"] = atoms.get_potential_energy()
            atoms.arrays["REF_forces"] = atoms.get_forces()
            atoms.calc = None
            frames.append(atoms)
        ase.io.write(folder / f"{part}.xyz", frames)
