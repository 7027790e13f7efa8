"""Labels, keys and selections of structures; files that cannot be used: ``hard_use``."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from piwsl_plugins.tools.errors import InputError
from piwsl_plugins.tools.structures import LabelKeys, read_frames


def crystal(seed):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=seed)
    atoms.calc = EMT()
    atoms.info["REF_energy"] = atoms.get_potential_energy()
    atoms.info["REF_stress"] = atoms.get_stress(voigt=False)
    atoms.arrays["REF_forces"] = atoms.get_forces()
    atoms.calc = None
    return atoms


@pytest.fixture
def data(tmp_path):
    """Writes three frames."""

    def make(name="data.xyz"):
        write(tmp_path / name, [crystal(seed) for seed in range(3)], format="extxyz")
        return tmp_path / name

    return make


def test_labels_under_other_keys_and_from_the_calculator_of_a_frame(tmp_path):
    atoms = crystal(0)
    atoms.info["dft"] = -3.5
    labelled = crystal(1)
    labelled.calc = EMT()
    labelled.get_forces()
    write(tmp_path / "data.traj", [atoms, labelled])
    first, second = read_frames(tmp_path / "data.traj", keys=LabelKeys("dft", "forces", "stress"))
    assert first.energy == -3.5 and first.forces is None and second.energy is None
    assert np.allclose(second.forces, labelled.get_forces())
    assert second.atoms.calc is None and not second.atoms.info


def test_stress_as_a_matrix_is_in_the_order_of_ase(data):
    stress = read_frames(data())[0].stress
    atoms = crystal(0)
    atoms.calc = EMT()
    assert np.allclose(stress, atoms.get_stress(), atol=1e-7)


def test_a_key_identifies_geometry_cell_and_charge(tmp_path):
    frames = [crystal(0) for _ in range(4)]
    frames[1].info["charge"] = 1
    frames[2].cell[0, 0] += 1e-6
    frames[3].info["REF_energy"] = 0.0
    write(tmp_path / "data.traj", frames)
    keys = [frame.key for frame in read_frames(tmp_path / "data.traj")]
    assert keys[0] == keys[3] and len(set(keys)) == 3


def test_dummy_atoms_are_refused(tmp_path):
    atoms = crystal(0)
    atoms.symbols[2] = "X"
    write(tmp_path / "dummy.xyz", [crystal(1), atoms], format="extxyz")
    with pytest.raises(InputError, match=r"dummy.xyz frame 1: atom 2 is a dummy \(X, atomic"):
        read_frames(tmp_path / "dummy.xyz")


def test_a_name_with_an_at_sign(data):
    assert len(read_frames(data(name="pbe@2024.xyz"))) == 3


@pytest.mark.parametrize(("index", "number"), [("1", 1), ("-1", 2), ("1:", 1), ("::2", 0)])
def test_selections_keep_the_numbers_of_frames(data, index, number):
    assert read_frames(data(), index)[0].where.endswith(f"frame {number}")


def test_selections_without_frames(data):
    for index in ("3", "3:", "x", "1:2:3:4"):
        with pytest.raises(InputError, match=f"--index={index}"):
            read_frames(data(), index)
