"""Labels under ASE's names train as the same labels under others."""

import ase.io
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian

from piwsl_plugins.mace.ase_names import as_in_the_file

from .conftest import assert_same_weights, frames, isolated_atoms, train
from .test_matching import refused

NAMES = {"energy_key": "energy", "forces_key": "forces"}


def under_ases_names(atoms):
    """A copy whose labels are a calculator's, and of which some atoms are fixed."""
    copy = atoms.copy()
    labels = {"energy": copy.info.pop("REF_energy")}
    if len(copy) > 1:
        labels["forces"] = copy.arrays.pop("REF_forces")
        copy.set_constraint([FixAtoms([0, 3]), FixCartesian([1], mask=(True, False, False))])
    copy.calc = SinglePointCalculator(copy, **labels)
    return copy


@pytest.fixture
def both(tmp_path):
    """Files of training, validation and pool data, under two kinds of names."""
    name = "ethanol_gfn2_train"
    data = frames(name, 12)
    parts = {
        "train_file": [*isolated_atoms(name), *data[:4]],
        "valid_file": data[4:6],
        "piwsl_pool_file": data[6:10],
    }
    found = []
    for folder, change in (("plain", lambda atoms: atoms), ("ases", under_ases_names)):
        (tmp_path / folder).mkdir()
        files = {option: tmp_path / folder / f"{option}.xyz" for option in parts}
        for option, path in files.items():
            ase.io.write(path, [change(atoms) for atoms in parts[option]])
        found.append(files)
    return found


@pytest.mark.slow
def test_fixed_atoms_keep_their_forces_and_isolated_atoms_their_energies(both, tmp_path):
    """MACE 0.3.16 takes forces of fixed atoms and energies of such isolated atoms for 0."""
    plain, ases = both
    assert (ase.io.read(ases["train_file"], -1).get_forces()[[0, 3]] == 0.0).all()
    options = {"piwsl_pool_per_batch": 2, "batch_size": 2, "max_num_epochs": 1}
    first = train(tmp_path / "first", plain, **options)
    assert_same_weights(first, train(tmp_path / "second", ases, **NAMES, **options))
    assert (first.atomic_energies_fn.atomic_energies < -10.0).all()


def test_an_isolated_atom_without_an_energy(both, tmp_path, capfd):
    plain, _ = both
    structures = ase.io.read(plain["train_file"], ":")
    number = next(i for i, atoms in enumerate(structures) if list(atoms.symbols) == ["O"])
    del structures[number].info["REF_energy"]
    ase.io.write(plain["train_file"], structures)
    message = refused(capfd, tmp_path / "run", plain)
    found = f"{plain['train_file']}: frame {number} (from 0) is an isolated atom of O without"
    assert message.startswith(found)


def test_an_isolated_atom_of_zero_energy(both, tmp_path):
    plain, _ = both
    structures = ase.io.read(plain["train_file"], ":")
    for atoms in structures:
        atoms.info["REF_energy"] = 0.0
    ase.io.write(plain["train_file"], structures)
    train(tmp_path / "run", plain, dry_run=True, piwsl_pool_file=None)


def test_what_was_replaced_is_put_back():
    before = Atoms.get_forces, Atoms.get_stress
    with pytest.raises(ValueError, match="here"), as_in_the_file():
        raise ValueError("here")
    assert (Atoms.get_forces, Atoms.get_stress) == before
