"""Labels, keys and selections of structures; files that cannot be used: ``hard_use``."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import write

from piwsl_plugins.errors import InputError, SettingsError
from piwsl_plugins.frames.reading import Keys, read_atoms, read_frames, structure_of


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
    first, second = read_frames(tmp_path / "data.traj", keys=Keys("dft", "forces", "stress"))
    assert first.energy == -3.5 and first.forces is None and second.energy is None
    assert np.allclose(second.forces, labelled.get_forces())
    assert second.atoms.calc is None and not second.atoms.info


def test_stress_as_a_matrix_is_in_the_order_of_ase(data):
    stress = read_frames(data(), keys=Keys())[0].stress
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


def water(**info):
    atoms = molecule("H2O")
    atoms.info.update(info)
    return atoms


@pytest.mark.parametrize(
    "names", [("charge", "spin"), ("total_charge", "total_spin"), ("charge", "total_spin")]
)
def test_charge_and_spin_by_every_usual_name(tmp_path, names):
    """Those of ASE's calculators and NequIP, and of MACE."""
    path = tmp_path / "ions.xyz"
    write(path, [water(), water(**dict(zip(names, (1, 2), strict=True)))])
    neutral, cation = read_frames(path)
    assert neutral.state.written() == {} and not neutral.atoms.info
    assert cation.atoms.info == {"charge": 1, "spin": 2}
    assert cation.state.written() == dict(zip(names, (1, 2), strict=True))
    assert (cation.structure.charge, cation.structure.spin) == (1.0, 2.0)
    assert neutral.structure.difference(cation.structure) == "another charge (0, and 1)"
    assert neutral.key != cation.key


def test_charge_and_spin_by_names_that_are_given(tmp_path):
    path = tmp_path / "ions.xyz"
    write(path, water(Q=-1, mult=2, charge=5))
    (frame,) = read_frames(path, keys=Keys(charge="Q", spin="mult"))
    assert frame.atoms.info == {"charge": -1, "spin": 2}


def test_names_that_agree_are_one(tmp_path):
    path = tmp_path / "ions.xyz"
    write(path, water(charge=1, total_charge=1.0))
    (frame,) = read_frames(path)
    assert frame.structure.charge == 1.0
    assert frame.state.written() == {"charge": 1, "total_charge": 1}


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"charge": 0, "total_charge": 1}, "charge=0 and total_charge=1 disagree"),
        ({"charge": "plus"}, "'charge' is no number"),
        ({"spin": np.nan}, "'spin' is not finite"),
        ({"total_spin": -1}, "multiplicity 2S \\+ 1"),
    ],
)
def test_states_that_cannot_be_right(tmp_path, info, words):
    path = tmp_path / "ions.xyz"
    write(path, [water(), water(**info)])
    with pytest.raises(InputError, match=f"frame 1: .*{words}"):
        read_frames(path)


def test_initial_charges_are_a_charge_and_initial_moments_are_a_guess():
    atoms = water()
    atoms.set_initial_charges([1.0, 0.0, 0.0])
    atoms.set_initial_magnetic_moments([0.5, 0.25, 0.25])
    structure = structure_of(atoms)
    assert (structure.charge, structure.spin) == (1.0, None)


def test_labels_that_are_not_asked_for_are_not_judged(tmp_path):
    path = tmp_path / "data.xyz"
    atoms = water(REF_energy=-1.0, REF_stress="unknown")
    atoms.arrays["REF_forces"] = np.full((3, 3), np.nan)
    write(path, atoms)
    assert read_frames(path)[0].energy is None
    (frame,) = read_frames(path, keys=Keys(stress=None))
    assert frame.energy == -1.0 and frame.forces is None  # NaN as a whole: no label
    atoms.arrays["REF_forces"][:, 0] = 0.0
    write(path, atoms)
    with pytest.raises(InputError, match="'REF_forces' is not finite"):
        read_frames(path, keys=Keys(stress=None))
    with pytest.raises(InputError, match="'REF_stress' is not numeric"):
        read_frames(path, keys=Keys(forces=None))


def test_frames_of_a_file_that_an_option_names(data):
    """By ASE's index behind an @, unless that is part of a file's name; by ASE's arguments."""
    path, whole = data(), [crystal(seed).positions.tolist() for seed in range(3)]

    def read(name, **arguments):
        return [
            atoms.positions.round(6).tolist() for atoms in read_atoms(name, "pool", **arguments)
        ]

    whole = np.round(whole, 6).tolist()
    assert read(path) == whole
    assert read(f"{path}@1:") == whole[1:]
    assert read(f"{path}@-1", format="extxyz") == whole[2:]
    at_sign = data("run@0.xyz")
    assert read(at_sign) == whole
    with pytest.raises(SettingsError, match=r"'pool' = '.*other.xyz': there is no such file"):
        read(path.with_name("other.xyz@0"))
    for index in ("7", "5:"):
        with pytest.raises(
            SettingsError, match=f"the index '{index}' selects no frame; the file has 3"
        ):
            read(f"{path}@{index}")


def test_dipoles_are_read_where_they_are_asked_for(tmp_path):
    path = tmp_path / "data.xyz"
    write(path, water(REF_energy=-1.0, REF_dipole=[0.0, 0.1, -0.4]))
    assert read_frames(path, keys=Keys())[0].dipole is None
    assert read_frames(path, keys=Keys(dipole="REF_dipole"))[0].dipole.tolist() == [0.0, 0.1, -0.4]
    write(path, water(REF_energy=-1.0, REF_dipole=[0.1, -0.4]))
    assert read_frames(path, keys=Keys())[0].energy == -1.0
    with pytest.raises(InputError, match="'REF_dipole' has 2 numbers, 3 expected"):
        read_frames(path, keys=Keys(dipole="REF_dipole"))
