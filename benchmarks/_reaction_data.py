"""Acetylacetone whose proton moves between its oxygen atoms, for ``selection.py``.

    python benchmarks/_reaction_data.py DATA FOLDER

Needs ASE and tblite alone. Langevin dynamics at 600 K with GFN2-xTB, which begin at a frame of
DATA; trajectories are independent of each other. Written are ``acac_gfn2_train.xyz`` (500 frames),
and of other trajectories ``acac_gfn2_test.xyz`` (200) and ``acac_gfn2_test_rare.xyz``: those frames
in which the proton is on its way, its distances from the two oxygen atoms differing by less than
0.3 Å.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ase
import ase.io
import numpy as np
from _labelled_frames import write
from _xtb_dynamics import trajectory

TEMPERATURE, FRAMES, TEST_FRAMES = 600, 50, 20
TRAIN, TEST, RARE = range(10), range(10, 20), range(10, 26)
#: all frames of the trajectories for tests, of which every so many-th is kept
EVERY = 5
HALFWAY = 0.3


def halfway(atoms: ase.Atoms) -> bool:
    """Whether the proton is between the oxygen atoms."""
    oxygens = [n for n, symbol in enumerate(atoms.symbols) if symbol == "O"]
    hydrogens = [n for n, symbol in enumerate(atoms.symbols) if symbol == "H"]
    distances = atoms.get_all_distances()[np.ix_(hydrogens, oxygens)]
    first, second = distances[distances.sum(axis=1).argmin()]
    return abs(first - second) < HALFWAY


def main() -> None:
    """Write the files, each when it is whole."""
    data, folder = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    start = ase.io.read(data / "acac_pbe_train_300K.xyz", 0)

    def frames_of(seed: int, frames: int) -> list[ase.Atoms]:
        atoms = ase.Atoms(start.numbers, start.positions)
        return trajectory(atoms, TEMPERATURE, frames, np.random.default_rng([seed, 2408]))

    train = [frame for seed in TRAIN for frame in frames_of(seed, FRAMES)]
    write(folder / "acac_gfn2_train.xyz", train)
    tests = [frames_of(seed, EVERY * TEST_FRAMES) for seed in RARE]
    every = [frame for frames in tests[: len(TEST)] for frame in frames[::EVERY]]
    write(folder / "acac_gfn2_test.xyz", every)
    rare = [frame for frames in tests for frame in frames if halfway(frame)]
    write(folder / "acac_gfn2_test_rare.xyz", rare)
    print(f"on the way: {sum(map(halfway, train))} of {len(train)} frames, {len(rare)} for tests")


if __name__ == "__main__":
    main()
