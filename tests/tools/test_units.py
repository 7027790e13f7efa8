"""Labels and positions in other units than eV and Å."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import write

from piwsl_plugins.errors import InputError
from piwsl_plugins.frames.reading import Frame
from piwsl_plugins.tools.command import main
from piwsl_plugins.tools.units import (
    require_angstrom,
    require_one_dipole_unit,
    require_one_unit,
)

NAMES = ("the cheap method", ("training frames", "cheap labels"))


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (0.0367493, r"likely the training frames are in hartree"),
        (23.0605, r"likely the training frames are in kcal/mol"),
        (1 / 96.4853, r"likely the cheap labels are in kJ/mol"),
        (-1.0, "wrong sign"),
    ],
)
def test_another_unit_is_told_from_the_slope(factor, words):
    random = np.random.default_rng(0)
    frames, cheap = [], {}
    for index in range(8):
        forces = random.normal(size=(3, 3))
        energy = float(random.normal())
        made = Frame(
            molecule("H2O"), f"frame {index}", energy=factor * energy, forces=factor * forces
        )
        made.atoms.positions[:] += random.normal(scale=0.01, size=(3, 3))
        frames.append(made)
        cheap[made.key] = {
            "energy": np.array(energy + 0.05 * random.normal()),
            "forces": forces + 0.05 * random.normal(size=(3, 3)),
        }
    with pytest.raises(InputError, match=words):
        require_one_unit(frames, cheap, [1, 8], *NAMES)


def with_stresses(factor):
    """Cells with stresses (eV/Å³) of a method, and those of one that finds them too large."""
    random = np.random.default_rng(0)
    frames, cheap = [], {}
    for index in range(8):
        stress = 0.02 * random.normal(size=6)
        frames.append(Frame(bulk("Cu"), f"frame {index}", energy=0.0, stress=factor * stress))
        frames[-1].atoms.positions[0, 0] += 0.01 * index
        low = 0.9 * stress - 0.05 + 0.002 * random.normal(size=6)
        cheap[frames[-1].key] = {"energy": np.array(0.0), "stress": low}
    return frames, cheap


@pytest.mark.parametrize("factor", [1.0, 0.3])
def test_stresses_of_two_methods_may_differ(factor):
    require_one_unit(*with_stresses(factor), [29], *NAMES)


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1602.1766, "likely the training frames are in kbar"),
        (160.21766, "likely the training frames are in GPa"),
        (1 / 160.21766, "likely the cheap labels are in GPa"),
        (-1.0, "wrong sign .*VASP"),
        (-1602.1766, "wrong sign .*VASP"),
        (40.0, "virials are no stresses"),
        (1.3, ""),
    ],
)
def test_stresses_of_another_unit_or_sign_are_told_from_the_slope(factor, words):
    """Of two calculators of copper under strain, beside energies and forces that are right."""
    frames, cheap = [], {}
    for index in range(5):
        atoms = bulk("Cu", a=3.5 + 0.05 * index, cubic=True)
        atoms.rattle(0.05, seed=index)
        atoms.calc = EMT()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        stress = atoms.get_stress()
        atoms.calc = None
        frames.append(Frame(atoms, f"frame {index}", "", energy, forces, factor * stress))
        noise = 0.002 * np.random.default_rng(index).normal(size=6)
        cheap[frames[-1].key] = {"energy": energy, "forces": forces, "stress": stress + noise}
    if not words:
        return require_one_unit(frames, cheap, [29], *NAMES)
    with pytest.raises(InputError, match=words):
        require_one_unit(frames, cheap, [29], *NAMES)


def test_methods_of_one_unit_may_differ():
    frames = []
    for index in range(8):
        forces = np.full((3, 3), 0.1 * index)
        frames.append(Frame(molecule("H2O"), f"frame {index}", energy=float(index), forces=forces))
        frames[-1].atoms.positions[0, 0] += 0.001 * index
    cheap = {
        f.key: {"energy": np.array(1.4 * f.energy + 5.0), "forces": 1.4 * f.forces} for f in frames
    }
    require_one_unit(frames, cheap, [1, 8], *NAMES)


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (4.80320, "likely the labelled frames are in debye"),
        (1.889726, "likely the labelled frames are in e·bohr"),
        (1 / 4.80320, "likely the answers of M are in debye"),
    ],
)
def test_dipoles_in_another_unit_are_told_from_the_slope(factor, words):
    random = np.random.default_rng(0)
    answers = random.normal(size=(8, 3))
    labels = factor * (answers + 0.05 * random.normal(size=(8, 3)))
    with pytest.raises(InputError, match=words):
        require_one_dipole_unit([*labels, None], [*answers, answers[0]], "M")


def test_dipoles_of_one_unit_may_differ():
    """... by a factor, a constant where all molecules lie alike, or anything of a bad model."""
    random = np.random.default_rng(0)
    answers = random.normal(size=(8, 3))
    require_one_dipole_unit(1.3 * answers, answers, "M")
    aligned = [5.0, 0.0, 0.0] + 0.1 * answers
    require_one_dipole_unit(4.8 * aligned[::-1], aligned, "M")
    require_one_dipole_unit(4.8 * random.normal(size=(8, 3)), answers, "M")


def rattled(atoms, factor, number=6):
    """The structure with its atoms moved, lengths times a factor."""
    frames = []
    for seed in range(number):
        moved = atoms.copy()
        moved.rattle(0.05, seed=seed)
        moved.positions *= factor
        moved.cell *= factor
        frames.append(Frame(moved, f"x.xyz frame {seed}"))
    return frames


#: covalent, ionic and molecular, with and without a cell
BONDED = {
    "methanol": molecule("CH3OH"),
    "water": molecule("H2O", vacuum=3.0, pbc=True),
    "diamond": bulk("C"),
    "silicon": bulk("Si", cubic=True),
    "rock salt": bulk("NaCl", "rocksalt", a=5.64),
    "hydride": bulk("PdH", "rocksalt", a=4.09),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BONDED)
def test_positions_in_bohr_and_nanometres_are_told_from_bonds(name):
    require_angstrom(rattled(BONDED[name], 1.0, 2))
    for unit, factor in (("bohr", 1.889726), ("nm", 0.1)):
        with pytest.raises(InputError, match=f"x.xyz frame 0.*likely the positions are in {unit}"):
            require_angstrom(rattled(BONDED[name], factor, 2))


def test_atoms_without_bonds_tell_no_unit():
    """Rare gases, metals, lone atoms, and a bond that is broken in most of the frames."""
    argon = bulk("Ar", "fcc", a=5.26)
    alone = [Frame(molecule("H"), "x.xyz frame 0")]
    for frames in (rattled(argon, 1.0), rattled(bulk("Cu"), 1.889726), alone):
        require_angstrom(frames)
    scan = []
    for number, length in enumerate(np.linspace(0.6, 3.0, 20)):
        atoms = molecule("H2")
        atoms.set_distance(0, 1, length)
        scan.append(Frame(atoms, f"x.xyz frame {number}"))
    require_angstrom(scan)


@pytest.mark.parametrize(
    "verb",
    [
        ("select", "{data}", "--n", "2", "--out", "{out}"),
        ("pool", "{data}", "--calculator", "known:lj", "--out", "{out}"),
        ("hessian", "{data}", "--calculator", "known:lj", "--out", "{out}.npz"),
        ("report", "--model", "x=known:lj", "--data", "{data}", "--out", "{out}"),
        ("weak", "{data}", "{data}", "--cheap_labels", "{data}", "--models", "0", "--out", "{out}"),
    ],
    ids=lambda verb: verb[0],
)
def test_every_verb_names_the_unit_of_positions(verb, tmp_path, capsys):
    structures = [frame.atoms for frame in rattled(BONDED["methanol"], 1.889726)]
    for atoms in structures:
        atoms.info["REF_energy"] = 0.0
        atoms.arrays["REF_forces"] = np.zeros((6, 3))
    write(tmp_path / "bohr.xyz", structures, format="extxyz")
    words = {"data": tmp_path / "bohr.xyz", "out": tmp_path / "out.xyz"}
    assert main([word.format(**words) for word in verb]) == 2
    error = capsys.readouterr().err
    assert "bohr.xyz frame" in error and "likely the positions are in bohr" in error
