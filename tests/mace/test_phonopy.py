"""From phonopy's files to a trained model: the supercell is a pool, its label a set of probes."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from piwsl_plugins.tools.command import main

from .conftest import train
from .test_trainer import entries, log

phonopy = pytest.importorskip("phonopy", reason="its files are read through phonopy")
from phonopy.structure.atoms import PhonopyAtoms  # noqa: E402


def labelled(atoms):
    atoms.calc = EMT()
    atoms.info["REF_energy"] = atoms.get_potential_energy()
    atoms.arrays["REF_forces"] = atoms.get_forces()
    return atoms


def rattled(seed):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=seed)
    return labelled(atoms)


def test_displacements_of_a_crystal_are_trained_on(tmp_path):
    unit = bulk("Cu", cubic=True)
    cell = PhonopyAtoms(symbols=unit.symbols, cell=unit.cell.array, positions=unit.positions)
    phonons = phonopy.Phonopy(cell, np.diag((2, 2, 2)), primitive_matrix="F")
    phonons.generate_displacements(distance=0.01)
    phonons.forces = [
        labelled(Atoms(one.symbols, one.positions, cell=one.cell, pbc=True)).get_forces()
        for one in phonons.supercells_with_displacements
    ]
    phonons.save(tmp_path / "phonopy_params.yaml")
    made = {"--out": "labels.npz", "--frames": "crystal.xyz"}
    words = [word for name, file in made.items() for word in (name, str(tmp_path / file))]
    assert main(["hessian", "--from_phonopy", str(tmp_path / "phonopy_params.yaml"), *words]) == 0
    for name, seeds in (("train", range(4)), ("valid", range(4, 6))):
        columns = ["symbols", "positions", "REF_forces"]
        ase.io.write(tmp_path / f"{name}.xyz", [rattled(n) for n in seeds], columns=columns)
    train(
        tmp_path,
        {"train_file": tmp_path / "train.xyz", "valid_file": tmp_path / "valid.xyz"},
        E0s="average",
        atomic_numbers="[29]",
        max_num_epochs=1,
        piwsl_hessian_file=tmp_path / "labels.npz",
        piwsl_pool_file=tmp_path / "crystal.xyz",
    )
    found = "Hessian labels for 0 of 4 training structures, and for 1 of 1 of the pool"
    assert found in log(tmp_path)
    assert entries(tmp_path, "piwsl")[0]["hessian"] > 0
