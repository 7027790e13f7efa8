"""Aspirin with energies and forces of GFN2-xTB, for ``survival.py``.

    python benchmarks/_survival_data.py DATA FOLDER

Needs ASE and tblite alone, and nothing of DATA. Langevin dynamics at 500 K from the minimum, whose
trajectories are independent of each other; those of the test file give no training frames. Written
are ``aspirin_gfn2_train.xyz`` (300 frames) and ``aspirin_gfn2_test.xyz`` (100).
"""

from __future__ import annotations

import sys
from pathlib import Path

import ase
import numpy as np
from _labelled_frames import write
from _xtb_dynamics import trajectory

#: near the minimum, in Å
ASPIRIN = """
C 2.968 1.324 -0.846    C 1.936 0.664 0.016     O 1.786 0.830 1.194     O 1.180 -0.186 -0.718
C 0.035 -0.711 -0.157   C -0.114 -2.090 -0.150  C -1.254 -2.661 0.387   C -2.241 -1.859 0.939
C -2.095 -0.485 0.934   C -0.964 0.109 0.380    C -0.850 1.586 0.326    O -0.174 2.207 -0.457
O -1.621 2.196 1.234    H 2.506 2.220 -1.259    H 3.259 0.673 -1.664    H 3.825 1.612 -0.245
H 0.672 -2.697 -0.570   H -1.366 -3.735 0.384   H -3.125 -2.305 1.366   H -2.860 0.150 1.353
H -1.503 3.156 1.171
"""
TEMPERATURE, FRAMES = 500, 50
TRAJECTORIES = {"train": range(6), "test": range(6, 8)}


def molecule() -> ase.Atoms:
    """Aspirin near its minimum."""
    words = ASPIRIN.split()
    positions = np.array([words[1::4], words[2::4], words[3::4]], dtype=float).T
    return ase.Atoms(words[0::4], positions)


def main() -> None:
    """Write both files, each when it is whole."""
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for part, seeds in TRAJECTORIES.items():
        frames = [
            frame
            for seed in seeds
            for frame in trajectory(
                molecule(), TEMPERATURE, FRAMES, np.random.default_rng([seed, 2408])
            )
        ]
        write(folder / f"aspirin_gfn2_{part}.xyz", frames)


if __name__ == "__main__":
    main()
