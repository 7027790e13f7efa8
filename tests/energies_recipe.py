"""The first steps of the recipe for energies alone, on the bundled data."""

import shutil
from pathlib import Path

import ase.io

from piwsl_plugins.tools.command import main

ROOT = Path(__file__).parents[1]


def shift_cheap_labels(folder):
    """Data, configs, and the files that pretraining and fine-tuning read, in this folder.

    Gives twelve frames with energies by the expensive method; the cheap one has labelled a pool.
    """
    (folder / "energies").mkdir()
    for name in ("data", "configs"):
        shutil.copytree(ROOT / name, folder / name)
    expensive = ase.io.read("data/ethanol_gfn2_train.xyz", "3:15")
    for atoms in expensive:
        del atoms.arrays["REF_forces"]
    ase.io.write("energies/train.xyz", expensive)
    given = ("energies/train.xyz", "data/ethanol_gfn1_hot.xyz")
    cheap = ("--cheap_labels", "data/ethanol_gfn1_train.xyz", "data/ethanol_gfn1_hot.xyz")
    out = ("--models", "0", "--offsets", "--out", "energies/cheap.xyz")
    assert main(["weak", *given, *cheap, *out]) == 0
    return expensive
