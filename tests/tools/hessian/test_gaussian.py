"""Gaussian's archive entries and formatted checkpoints, against the numbers they were made of."""

import numpy as np
import pytest
from ase import Atoms
from ase.data import atomic_masses
from ase.io import read, write
from ase.units import Bohr, Hartree
from scipy.spatial.transform import Rotation

from piwsl_plugins.labels.hessian_labels import HessianLabel
from piwsl_plugins.tools.hessian.frequencies import frequencies
from piwsl_plugins.tools.hessian.rigid_motions import turned

from . import water_job as water
from .gaussian_output import job, output
from .spring_job import IN_ATOMIC_UNITS, bent, linear

POSITIONS = water.POSITIONS * Bohr
FORCES = -water.GRADIENT * Hartree / Bohr
ROTATION = Rotation.from_euler("xyz", [70, -40, 110], degrees=True).as_matrix()


def water_entry(**changes):
    """An archived job of water, 4e-8 hartree/bohr² from its numbers."""
    known = {
        "positions": POSITIONS,
        "hessian": water.HESSIAN,
        "gradient": water.GRADIENT,
        "frequencies": water.FREQUENCIES,
        "total": -74.9616223,
    }
    return job(water.NUMBERS, **(known | changes))


@pytest.fixture
def log(tmp_path):
    def written(*jobs, name="job.log"):
        (tmp_path / name).write_text(output(*jobs))
        return tmp_path / name

    return written


@pytest.mark.parametrize("bar", ["\\", "|"])
@pytest.mark.parametrize("state", ["0,1", "-1,2", "1,2,1,2"])
def test_archive_entry(labelled, log, tmp_path, bar, state):
    """Of Linux and of Windows; ONIOM repeats charge and multiplicity for its layers."""
    path, frames = log(water_entry(bar=bar, state=state)), tmp_path / "train.xyz"
    (label,), _ = labelled("--from_output", path, "--frames", frames)
    assert np.abs(label.hessian - water.HESSIAN * water.IN_EV).max() < 1e-6
    assert np.abs(label.positions - POSITIONS).max() < 1e-9
    atoms = read(frames)
    assert np.abs(atoms.arrays["REF_forces"] - FORCES).max() < 1e-6
    assert atoms.info["REF_energy"] == pytest.approx(-74.9616223 * Hartree, abs=1e-6)
    assert [atoms.info["charge"], atoms.info["spin"]] == [int(x) for x in state.split(",")[:2]]


@pytest.mark.parametrize(
    ("method", "total", "expected"),
    [("RMP2-FC", -75.1, -75.1), ("RHF", -75.0, -75.0), ("RMP2-FC", None, None), ("RHF", -80, None)],
)
def test_energy_is_that_of_the_level_of_the_hessian(
    labelled, log, tmp_path, method, total, expected
):
    """An entry has the energies of all levels; thermochemistry tells which one is the job's."""
    energies = [("HF", -75.0), ("MP2", -75.1)]
    path = log(water_entry(method=method, energies=energies, total=total))
    labelled("--from_output", path, "--frames", tmp_path / "train.xyz")
    energy = read(tmp_path / "train.xyz").info.get("REF_energy")
    assert energy == (None if expected is None else pytest.approx(expected * Hartree, abs=1e-6))


def test_printed_frequencies_are_those_of_the_hessian(labelled, refused, log):
    wrong = water.FREQUENCIES + np.array([0, 8.0, 0])
    error = refused("--from_output", log(water_entry(frequencies=wrong)))
    assert "frequency of 4441.2 cm⁻¹ where the file gives 4448.8 cm⁻¹" in error
    heavy = np.array([15.99491, 2.0141, 2.0141])
    label = HessianLabel(water.NUMBERS, POSITIONS, hessian=water.HESSIAN * water.IN_EV)
    modes = frequencies(label, heavy)
    assert modes[0] < 1500  # of heavy water
    labelled("--from_output", log(water_entry(frequencies=modes, masses=heavy)))


def test_several_archive_entries(labelled, refused, log):
    optimisation = water_entry(hessian=None, gradient=None, frequencies=None, kind="FOpt")
    guessed = water_entry(hessian=2 * water.HESSIAN, frequencies=None, kind="FOpt")
    numbers, positions, hessian = bent()
    other = job(numbers, positions, hessian * IN_ATOMIC_UNITS, method="UHF", state="0,3")
    path = log(optimisation, guessed, water_entry(), other, water_entry())
    labels, _ = labelled("--from_output", path)
    found = {label.numbers[2]: label for label in labels}
    assert len(labels) == 2
    assert np.abs(found[1].hessian - water.HESSIAN * water.IN_EV).max() < 1e-6
    assert np.abs(found[9].hessian - hessian).max() < 1e-6
    two_levels = log(water_entry(), water_entry(method="RMP2-FC"))
    assert "several levels of theory (HF/STO-3G and MP2-FC/STO-3G)" in refused(
        "--from_output", two_levels, out="none.npz"
    )
    two_states = log(water_entry(), water_entry(state="1,2"))
    error = refused("--from_output", two_states, out="none.npz")
    assert "two different Hessians of one geometry" in error and "0, 1" in error


def test_a_composite_method_repeats_the_hessian_of_its_frequency_job(labelled, log, tmp_path):
    repeated = water_entry(method="CBS-QB3", kind="Mixed", energies=[("HF", -76.0)])
    path = log(water_entry(), repeated)
    (_,), _ = labelled("--from_output", path, "--frames", tmp_path / "train.xyz")
    energy = read(tmp_path / "train.xyz").info["REF_energy"]
    assert energy == pytest.approx(-74.9616223 * Hartree, abs=1e-6)


def test_z_matrix_takes_the_printed_geometry_in_the_axes_of_the_hessian(labelled, log):
    def table(title, positions):
        rows = [
            f"{n:7d}{number:11d}{0:12d}    " + "".join(f"{x:12.6f}" for x in row)
            for n, (number, row) in enumerate(zip(water.NUMBERS, positions), 1)
        ]
        rule = " " + "-" * 69
        return "\n".join([f" {title} orientation:", rule, " Center", " Number", rule, *rows, rule])

    before = "\n".join(
        [
            table("Input", 1.1 * POSITIONS),
            table("Input", POSITIONS),
            table("Standard", POSITIONS @ ROTATION),
        ]
    )
    entry = water_entry(geometry=["O", "H,1,R", "H,1,R,2,A", "", "R=0.96", "A=104."], before=before)
    (label,), _ = labelled("--from_output", log(entry))
    assert np.abs(label.positions - POSITIONS).max() < 1e-6
    assert np.abs(label.hessian - water.HESSIAN * water.IN_EV).max() < 1e-6


@pytest.mark.parametrize("off", [0.0, 5e-4, 5e-3])
@pytest.mark.parametrize("taken_out", [5, 6])
def test_linear_molecules(labelled, refused, log, off, taken_out):
    """Within 0.01 Å of a line, programs differ in whether a molecule is linear."""
    numbers, positions, hessian, modes = linear()
    positions[1, 2] += off
    if taken_out == 6:
        modes = modes[1:]  # the bend in the plane is taken for a rotation
    given = job(numbers, positions, hessian * IN_ATOMIC_UNITS, np.zeros((3, 3)), frequencies=modes)
    (label,), _ = labelled("--from_output", log(given))
    assert np.abs(label.hessian - hessian).max() < 1e-5
    assert len(frequencies(label, atomic_masses[numbers])) == (3 if off == 5e-3 else 4)
    wrong = job(
        numbers, positions, hessian * IN_ATOMIC_UNITS, np.zeros((3, 3)), frequencies=1.1 * modes
    )
    if taken_out == 5 or off:
        assert "cm⁻¹" in refused("--from_output", log(wrong), out="none.npz")


@pytest.mark.parametrize("gradient", ["frozen", "whole"])
def test_frozen_atoms_leave_the_hessian_of_the_others(labelled, log, tmp_path, gradient):
    """Their force constants are 0; so may be their forces, which is not what they are."""
    hessian, forces = water.HESSIAN.copy(), FORCES.copy()
    hessian[:3], hessian[:, :3] = 0, 0
    if gradient == "frozen":
        forces[0] = 0
    entry = water_entry(hessian=hessian, gradient=-forces * Bohr / Hartree, frequencies=None)
    frames = tmp_path / "train.xyz"
    (label,), printed = labelled("--from_output", log(entry), "--frames", frames)
    assert label.atoms.tolist() == [1, 2] and "(1 of a part of the atoms)" in printed
    assert np.abs(label.hessian - water.HESSIAN[3:, 3:] * water.IN_EV).max() < 1e-6
    assert ("REF_forces" in read(frames).arrays) == (gradient == "whole")
    write(tmp_path / "turned.traj", Atoms(water.NUMBERS, POSITIONS @ ROTATION))
    (label,), _ = labelled(
        tmp_path / "turned.traj", "--from_output", tmp_path / "job.log", out="turned.npz"
    )
    expected = turned(water.HESSIAN[3:, 3:] * water.IN_EV, ROTATION)
    assert label.atoms.tolist() == [1, 2] and np.abs(label.hessian - expected).max() < 1e-5


def test_outputs_without_archive_entry_and_damaged_ones(refused, log):
    entry = water_entry()
    optimised = water_entry(hessian=None, gradient=None, kind="FOpt")
    for jobs in ((), (optimised,), (entry[: len(entry) // 2],)):
        error = refused("--from_output", log(*jobs))
        assert "formchk" in error and "NImag" in error
    error = refused("--from_output", log(water_entry(hessian=water.HESSIAN[:6, :6])))
    assert "3 atoms have 45 force constants in the lower triangle, not 21" in error
    error = refused("--from_output", log(entry.replace("\\O,0", "\\O-Bq,0")))
    assert "ghost atoms" in error


def test_single_atoms_are_left_out(labelled, refused, log):
    atom = job(np.array([1]), np.zeros((1, 3)), np.zeros((3, 3)), np.zeros((1, 3)), state="0,2")
    _, printed = labelled("--from_output", log(water_entry()), log(atom, name="h.log"))
    assert "1 structures" in printed and "1 single atoms left out" in printed
    assert "of single atoms alone" in refused("--from_output", log(atom), out="none.npz")


def test_the_wrong_axes_are_found(refused, log):
    entry = water_entry(hessian=turned(water.HESSIAN, ROTATION), frequencies=None)
    assert "different axes" in refused("--from_output", log(entry))


def test_trimmed_checkpoints_and_blocks_of_any_basis(labelled, tmp_path):
    """Only the blocks that are needed count; names were misspelt, and g shells have code −4."""
    path, frames = tmp_path / "water.fchk", tmp_path / "train.xyz"
    water.write_fchk(path, frequencies=water.FREQUENCIES)
    whole = path.read_text()
    strange = whole.replace("independent functions", "independant functions")
    strange += "Shell types                                I   N=           1\n          -4\n"
    kept = ("Atomic numbers", "Current cart", "Cartesian Force", "Total Energy", "Cartesian Grad")
    blocks = []
    for line in whole.splitlines()[2:]:
        if line[0] != " ":
            wanted = line.startswith(kept)
        blocks += [line] * wanted
    trimmed = "\n".join(["title", "Freq      RHF      STO-3G", *blocks, ""])
    cut_off = trimmed + "Alpha MO coefficients                      R   N=          49\n  1.0E+00\n"
    for text, stated in ((whole, True), (strange, True), (trimmed, False), (cut_off, False)):
        path.write_text(text)
        (label,), printed = labelled("--from_output", path, "--frames", frames, "--overwrite")
        assert np.abs(label.hessian - water.HESSIAN * water.IN_EV).max() < 1e-6
        assert np.abs(read(frames).arrays["REF_forces"] - FORCES).max() < 1e-6
        assert ("charge" in read(frames).info) == stated
        assert ("no charge or no multiplicity is stated" in printed) != stated


def test_checkpoints_that_cannot_be_used(refused, tmp_path):
    path = tmp_path / "water.fchk"
    water.write_fchk(path)
    text = path.read_text()
    for kind in ("FOpt", "SP  "):
        path.write_text(text.replace("Freq      RHF", f"{kind}      RHF"))
        error = refused("--from_output", path)
        assert f"of a job '{kind.strip().upper()}', whose force constants may be" in error
    path.write_text(text[: text.index("Cartesian Force") + 200])
    assert "block 'Cartesian Force Constants' is cut off" in refused("--from_output", path)
    nuclear = f"{'Nuclear charges':43}R   N=           3\n  8.0E+00  0.0E+00  1.0E+00\n"
    path.write_text(text + nuclear)
    assert "ghost or dummy atoms" in refused("--from_output", path)
