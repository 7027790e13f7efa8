"""Data that cannot be right: every verb refuses it in one line, and writes nothing."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from piwsl_plugins.tools.command import main
from piwsl_plugins.tools.errors import InputError
from piwsl_plugins.tools.structures import LabelKeys, read_frames

EMT_FACTORY = "ase.calculators.emt:EMT"
VERBS = {
    "hessian": lambda data: [str(data), "--calculator", EMT_FACTORY],
    "report": lambda data: ["--model", f"emt={EMT_FACTORY}", "--data", str(data)],
}


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
    """Writes three frames, of which a function changed the one of number 1."""

    def make(change=lambda atoms: None, name="data.xyz"):
        frames = [crystal(seed) for seed in range(3)]
        frames[1] = change(frames[1]) or frames[1]
        write(tmp_path / name, frames, format="extxyz")
        return tmp_path / name

    return make


@pytest.fixture(params=VERBS)
def refused(request, tmp_path, capsys):
    """Runs a verb on a file, and gives its error."""

    def run(path):
        out = tmp_path / "out"
        assert main([request.param, *VERBS[request.param](path), "--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"piwsl {request.param}: {path}") and error.count("\n") == 1
        assert [one.name for one in tmp_path.iterdir() if one != path] == []
        return error

    return run


def position_not_finite(atoms):
    atoms.positions[2, 1] = np.nan


def energy_not_finite(atoms):
    atoms.info["REF_energy"] = float("nan")


def force_infinite(atoms):
    atoms.arrays["REF_forces"][1, 2] = np.inf


def stress_not_finite(atoms):
    atoms.info["REF_stress"][0, 0] = np.nan


def flat_cell(atoms):
    atoms.set_cell([[3, 0, 0], [0, 3, 0], [3, 3, 0]])


def two_atoms_at_one_place(atoms):
    atoms.positions[3] = atoms.positions[0] + atoms.cell[0]


def no_atoms(atoms):
    return Atoms(cell=[4, 4, 4], pbc=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (position_not_finite, "the position of atom 2 is not finite"),
        (energy_not_finite, "'REF_energy' is not finite"),
        (force_infinite, "'REF_forces' is not finite"),
        (stress_not_finite, "'REF_stress' is not finite"),
        (flat_cell, "cell"),
        (two_atoms_at_one_place, "atoms 0 and 3 are at the same place"),
    ],
)
def test_data_that_cannot_be_right(refused, data, change, words):
    error = refused(data(change))
    assert "data.xyz frame 1: " in error and words in error


def test_a_frame_without_atoms(refused, data, tmp_path):
    path = data()
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:6], "0", lines[1], *lines[6:]]) + "\n")
    assert "data.xyz frame 1: " in refused(path)


def test_files_that_are_empty_absent_or_cut_off(refused, data, tmp_path):
    path = data()
    text = path.read_text()
    path.write_text(text[: int(0.95 * len(text))])
    assert "data.xyz frame 2: ASE cannot read this" in refused(path)
    path.write_text("")
    assert "the file is empty" in refused(path)
    path.write_text("5\n")
    assert "data.xyz" in refused(path)
    path.unlink()
    assert "there is no such file" in refused(path)


def test_binary_files_that_are_no_structures(refused, tmp_path):
    (tmp_path / "data.xyz").write_bytes(bytes(range(256)) * 8)
    assert "ASE cannot read this" in refused(tmp_path / "data.xyz")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("REF_energy", "low", "'REF_energy' is not numeric"),
        ("REF_energy", [1.0, 2.0], "'REF_energy' has 2 numbers, 1 expected"),
        ("REF_stress", [1.0] * 5, "'REF_stress' has 5 numbers, 6 or 9 expected"),
    ],
)
def test_labels_of_another_kind(refused, data, key, value, words):
    def change(atoms):
        atoms.info[key] = value

    assert words in refused(data(change))


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


def test_a_name_with_an_at_sign(data):
    assert len(read_frames(data(name="pbe@2024.xyz"))) == 3


@pytest.mark.parametrize(("index", "number"), [("1", 1), ("-1", 2), ("1:", 1), ("::2", 0)])
def test_selections_keep_the_numbers_of_frames(data, index, number):
    assert read_frames(data(), index)[0].where.endswith(f"frame {number}")


def test_selections_without_frames(data):
    for index in ("3", "3:", "x", "1:2:3:4"):
        with pytest.raises(InputError, match=f"--index={index}"):
            read_frames(data(), index)
