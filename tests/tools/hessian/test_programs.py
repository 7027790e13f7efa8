"""Files of other programs: GAMESS, QCSchema, ORCA's outputs, Q-Chem, Molpro, and advice."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from ase.io import read
from ase.units import Bohr, Hartree

from piwsl_plugins.errors import InputError
from piwsl_plugins.tools.hessian.cclib_outputs import _at_hessian, _qchem_energy, _state
from piwsl_plugins.tools.hessian.fitting import fitted
from piwsl_plugins.tools.hessian.frequency_jobs import FrequencyJob
from piwsl_plugins.tools.hessian.molpro import placed

from . import water_job as water
from .spring_job import linear

POSITIONS = water.POSITIONS * Bohr
FORCES = -water.GRADIENT * Hartree / Bohr


def is_water(label):
    return np.abs(label.hessian - water.HESSIAN * water.IN_EV).max() < 1e-5


def punch(symmetry="C1"):
    atoms = [
        f"{s}  {z:.1f}  " + "  ".join(f"{x:.10f}" for x in row)
        for s, z, row in zip("OHH", (8, 1, 1), POSITIONS)
    ]
    grad = [
        f"{s}  {z:.1f}  " + " ".join(f"{g:.10E}" for g in row)
        for s, z, row in zip("OHH", (8, 1, 1), water.GRADIENT)
    ]
    rows = []
    for index, row in enumerate(water.HESSIAN, 1):
        for part, start in enumerate(range(0, 9, 5), 1):
            values = "".join(f"{value:15.8E}" for value in row[start : start + 5])
            rows.append(f"{index:2d}{part:3d}{values}")
    lines = [" $DATA", "water", symmetry, *atoms, " $END", " $GRAD", "E= -74.9 GMAX= 0.1 GRMS= 0.1"]
    lines += [*grad, " $END", " $HESS", "ENERGY IS      -74.9616222652 E(NUC) IS        9.0"]
    return "\n".join([*lines, *rows, " $END", ""])


def test_gamess_punch_file(labelled, refused, tmp_path):
    path, frames = tmp_path / "water.dat", tmp_path / "train.xyz"
    path.write_text(punch())
    (label,), printed = labelled("--from_output", path, "--frames", frames)
    atoms = read(frames)
    assert is_water(label) and np.abs(label.positions - POSITIONS).max() < 1e-8
    assert atoms.info["REF_energy"] == pytest.approx(-74.9616222652 * Hartree, abs=1e-6)
    assert np.abs(atoms.arrays["REF_forces"] - FORCES).max() < 1e-6
    assert "no charge" in printed and "charge" not in atoms.info
    step = "COORDINATES OF SYMMETRY UNIQUE ATOMS (ANGS)\n ATOM CHARGE X Y Z\n ----\n"
    step += "\n".join(
        f" {s} {z:.1f} 0.1 {n}.5 0.2" for n, (s, z) in enumerate(zip("OHH", (8, 1, 1)))
    )
    path.write_text(punch().replace(" $HESS", f"{step}\n--- ORBITALS\n $HESS"))
    assert "turning the molecule" in refused("--from_output", path, out="none.npz")
    path.write_text(punch().replace(" $HESS", "CAUTION, APPROXIMATE HESSIAN!\n $HESS"))
    assert "the estimate of an optimisation" in refused("--from_output", path, out="none.npz")
    path.write_text(punch("CS"))
    assert "without a geometry" in refused("--from_output", path, out="none.npz")
    table = "\n".join(
        f" {s}   {z:.1f}   " + "   ".join(f"{x:.10f}" for x in row)
        for s, z, row in zip(("O", "H1", "H2"), (8, 1, 1), water.POSITIONS)
    )
    (tmp_path / "water.log").write_text(
        "GAMESS VERSION\n CHARGE OF MOLECULE                         =   -1\n"
        " SPIN MULTIPLICITY                          =    2\n"
        f" ATOM  ATOMIC   COORDINATES (BOHR)\n{table}\n\n"
    )
    (label,), _ = labelled("--from_output", path, "--frames", frames, "--overwrite")
    assert is_water(label)
    assert (read(frames).info["charge"], read(frames).info["spin"]) == (-1, 2)


def result(**changes):
    molecule = {
        "symbols": ["O", "H", "H"],
        "geometry": water.POSITIONS.ravel().tolist(),
        "molecular_charge": 1.0,
        "molecular_multiplicity": 2,
    }
    properties = {"return_energy": -74.9, "return_gradient": water.GRADIENT.tolist()}
    known = {"driver": "hessian", "success": True, "return_result": water.HESSIAN.ravel().tolist()}
    return {"molecule": molecule, "properties": properties, **known} | changes


@pytest.mark.parametrize("version", [1, 2])
def test_qcschema(labelled, refused, tmp_path, version):
    path, frames = tmp_path / "result.json", tmp_path / "train.xyz"
    written = result()
    if version == 2:
        written["input_data"] = {"specification": {"driver": written.pop("driver")}}
    path.write_text(json.dumps(written))
    (label,), _ = labelled("--from_output", path, "--frames", frames)
    atoms = read(frames)
    assert is_water(label) and np.abs(label.positions - POSITIONS).max() < 1e-8
    assert np.abs(atoms.arrays["REF_forces"] - FORCES).max() < 1e-6
    assert (atoms.info["charge"], atoms.info["spin"]) == (1, 2)
    assert atoms.info["REF_energy"] == pytest.approx(-74.9 * Hartree)
    for words, changes in {
        "the calculation failed": {"success": False},
        "driver 'gradient'": {"driver": "gradient", "return_result": [0.0]},
        "not a result of QCSchema": {"molecule": {}},
    }.items():
        path.write_text(json.dumps([result(**changes)]))
        assert words in refused("--from_output", path, out="none.npz")
    path.write_text('[{"__ase_objtype__": "vibrationsdata"}]')
    assert "VibrationsData to --from_vibrations" in refused("--from_output", path, out="none.npz")


STATE = (
    " Total Charge           Charge          ....   {}\n Multiplicity           Mult    ....    {}"
)


@pytest.mark.parametrize("name", ["water.out", "water.log", "water", "slurm-17.txt"])
def test_orca_output_beside_whatever_its_name(labelled, tmp_path, name):
    """An output of another name is that of the Hessian if it names its input."""
    water.write_orca_hess(tmp_path / "water.hess")
    header = STATE.format(-1, 2) + "\nNAME = water.inp\n"
    water.write_orca_out(tmp_path / name, header=header)
    (tmp_path / "notes.txt").write_text("not of ORCA")
    frames = tmp_path / "train.xyz"
    labelled("--from_output", tmp_path / "water.hess", "--frames", frames)
    atoms = read(frames)
    assert (atoms.info["charge"], atoms.info["spin"]) == (-1, 2)
    assert atoms.info["REF_energy"] == pytest.approx(water.ENERGY * Hartree, abs=1e-6)
    assert np.abs(atoms.arrays["REF_forces"] - FORCES).max() < 1e-5


def test_orca_outputs_that_are_not_of_the_job(labelled, refused, tmp_path):
    path, frames = tmp_path / "water.hess", tmp_path / "train.xyz"
    water.write_orca_hess(path)
    water.write_orca_out(tmp_path / "other.out", header=STATE.format(1, 2) + "\nNAME = other.inp\n")
    _, printed = labelled("--from_output", path, "--frames", frames)
    assert "no charge" in printed and "charge" not in read(frames).info
    water.write_orca_out(tmp_path / "water.out", header=STATE.format(0, 1))
    water.write_orca_out(tmp_path / "water.log", header=STATE.format(1, 2))
    error = refused("--from_output", path, out="none.npz")
    assert "water.log" in error and "water.out" in error and "move one away" in error
    water.write_orca_out(tmp_path / "water.log", positions=1.1 * water.POSITIONS)
    labelled("--from_output", path, "--frames", frames, "--overwrite")
    assert read(frames).info["charge"] == 0


def test_orca_numerical_frequencies_and_hessians_on_the_way(labelled, tmp_path):
    """The last energy is of a displaced geometry; that of thermochemistry is not."""
    frames = tmp_path / "train.xyz"
    water.write_orca_hess(tmp_path / "water.hess")
    lines = [
        "ORCA NUMERICAL FREQUENCIES",
        STATE.format(0, 1),
        "FINAL SINGLE POINT ENERGY  -74.9000",
    ]
    thermochemistry = f"Electronic energy                ...  {water.ENERGY:.8f} Eh"
    water.write_orca_out(tmp_path / "water.out", header="\n".join([*lines, thermochemistry]))
    labelled("--from_output", tmp_path / "water.hess", "--frames", frames)
    assert read(frames).info["REF_energy"] == pytest.approx(water.ENERGY * Hartree, abs=1e-6)
    assert read(frames).info["charge"] == 0 and "REF_forces" not in read(frames).arrays
    water.write_orca_hess(tmp_path / "water.001.hess")
    options = ("--from_output", tmp_path / "water.001.hess", "--frames", frames, "--overwrite")
    labelled(*options)
    assert read(frames).info["spin"] == 1 and "REF_energy" not in read(frames).info


HEADER = "Hessian of the SCF Energy"
TABLE = "Standard Nuclear Orientation (Angstroms)"


def test_qchem_charge_is_that_of_the_molecule_block():
    """cclib takes the electrons of effective core potentials for a charge."""
    counted = SimpleNamespace(charge=84, mult=1, atomnos=np.array([35, 48, 35]))
    text = "$molecule\n-1  2\nBr 0 0 0\n$end\n$molecule\nread\n$end\n{}\n$molecule\n1 1\n$end\n"
    assert _state(counted, text.format(HEADER), "QChem") == (-1, 2)
    assert _state(counted, f"$molecule\nread\n$end\n{HEADER}", "QChem") == (None, None)


def test_qchem_energy_is_that_of_the_job_of_the_hessian():
    """A file may go on with an energy by another method at the same geometry."""
    energies = [f"Total energy in the final basis set = {e:.6f}" for e in (-1.0, -2.0, -3.0)]
    text = "\n".join([TABLE, energies[0], TABLE, energies[1], HEADER, TABLE, energies[2]])
    assert _qchem_energy(text) == pytest.approx(-2.0 * Hartree)
    assert _qchem_energy(text.replace(HEADER, f"{energies[0]}\n{HEADER}")) is None


def test_charges_that_do_not_fit_the_multiplicity_are_left_out():
    data = SimpleNamespace(charge=1, mult=2, atomnos=np.array([8, 1, 1]))
    assert _state(data, "", "Psi4") == (1, 2)
    data.charge = 0
    assert _state(data, "", "Psi4") == (None, None)


def test_geometries_of_which_one_must_be_that_of_the_hessian(tmp_path):
    first, last = POSITIONS, POSITIONS.copy()
    last[1] *= 1.1
    path, both = tmp_path / "job.out", np.array([first, last])
    with pytest.raises(InputError, match=r"H2 is 0\.\d+ Å in geometry 1 and .* in geometry 2"):
        _at_hessian(path, both, water.NUMBERS, "", "NWChem")
    assert _at_hessian(path, np.array([first, first + 1.0]), water.NUMBERS, "", "NWChem") == 1
    for texts, at in (((TABLE, HEADER, TABLE), 0), ((TABLE, TABLE, HEADER), 1)):
        assert _at_hessian(path, both, water.NUMBERS, "\n".join(texts), "QChem") == at


def molpro_output(stretches, with_modes=True):
    """Optimised geometries, then the Hessian with the geometry of its normal modes, in bohr."""
    text = " NUMBER OF ELECTRONS:       5+    5-\n NUCLEAR CHARGE:                   10\n"
    for stretch in stretches:
        rows = [" O " + " ".join(f"{x:.10f}" for x in row) for row in stretch * POSITIONS]
        text += " Current geometry (xyz format, in Angstrom)\n\n    3\n "
        text += f"RKS/VDZ  ENERGY={-76 - stretch:.8f}\n" + "\n".join(rows) + "\n\n"
    text += " Force Constants (Second Derivatives of the Energy) in [a.u.]\n"
    if with_modes:
        rows = [f" 1 O 8.00 {x:.9f} {y:.9f} {z:.9f}" for x, y, z in stretches[-1] * water.POSITIONS]
        text += " Atomic Coordinates\n\n  Nr  Atom  Charge  X  Y  Z\n\n" + "\n".join(rows) + "\n\n"
    return text


def test_molpro_hessian_is_at_the_geometry_of_its_normal_modes():
    """cclib keeps the first geometry, and the Hessian was made at the optimised one."""
    first = FrequencyJob(
        water.NUMBERS, POSITIONS[None] / 1.2, water.HESSIAN * water.IN_EV, -70.0, charge=9
    )
    job = placed(first, molpro_output([1.1, 1.0]))
    assert np.abs(job.geometries - POSITIONS).max() < 1e-8
    assert job.energy == pytest.approx(-77.0 * Hartree)
    assert (job.charge, job.multiplicity) == (0, 1)
    with pytest.raises(ValueError, match="the first geometry and the optimised one differ"):
        placed(first, molpro_output([1.1, 1.0], with_modes=False))


def test_a_molecule_bent_by_less_than_programs_notice():
    """ORCA takes out six motions of what is linear within 0.001 bohr."""
    numbers, positions, hessian, modes = linear()
    positions[1, 2] += 5e-4
    six_zeros = np.array([*np.zeros(6), *modes[1:]])
    label, _ = fitted(FrequencyJob(numbers, positions[None], hessian, frequencies=six_zeros))
    assert np.abs(label.hessian - hessian).max() < 1e-9
    with pytest.raises(ValueError, match="cm⁻¹"):
        fitted(FrequencyJob(numbers, positions[None], hessian, frequencies=1.1 * six_zeros))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("   * O   R   C   A *\n", "output of ORCA; give the .hess file"),
        (" Welcome to Q-Chem\n", "output of Q-Chem; give the .fchk file"),
        ("  Northwest Computational Chemistry Package\n", "output of NWChem; give the .hess file"),
        ("|  DFTB+ release 23.1\n", "output of DFTB+; give the hessian.out"),
        ("   x T B \n", "output of xTB; give the file named hessian"),
        ("  Psi4: An Open-Source Ab Initio\n", "output of Psi4; give the .hess file"),
        (" Entering Gaussian System\n generated by the xtb code\n", "output of xTB; give the file"),
        ("  TeraChem v1.9\n", "output of TeraChem; give its Hessian as a file of labels"),
    ],
)
def test_outputs_of_known_programs_get_the_advice_of_that_program(refused, tmp_path, text, words):
    path = tmp_path / "job.out"
    path.write_text(text + " 1 2 3\n" * 20)
    assert words in refused("--from_output", path)


def test_files_that_are_no_text(refused, tmp_path):
    (tmp_path / "job.chk").write_bytes(b"\x01\x00\x02")
    (tmp_path / "empty.out").write_text("\n")
    (tmp_path / "job.gjf").write_text("%chk=job.chk\n#p b3lyp/6-31g* freq\n\njob\n\n0 1\nH 0 0 0\n")
    assert "this is an input" in refused("--from_output", tmp_path / "job.gjf")
    assert "formchk" in refused("--from_output", tmp_path / "job.chk")
    assert "the file is empty" in refused("--from_output", tmp_path / "empty.out")
    assert "is a folder" in refused("--from_output", tmp_path)
