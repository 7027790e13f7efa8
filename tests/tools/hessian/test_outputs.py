"""Frequency jobs: what is converted, what is turned, and what is refused."""

import importlib.util

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write
from ase.units import Bohr, Hartree
from scipy.spatial.transform import Rotation

from piwsl_plugins.labels.hessian_labels import HessianLabel
from piwsl_plugins.tools.hessian.fitting import fitted
from piwsl_plugins.tools.hessian.frequencies import frequencies, imaginary_modes
from piwsl_plugins.tools.hessian.frequency_jobs import FrequencyJob
from piwsl_plugins.tools.hessian.rigid_motions import rotation_between, turned

from . import water_job as water

pytest.importorskip("cclib", reason="outputs are read through cclib")

FORCES = -water.GRADIENT * Hartree / Bohr
ROTATION = Rotation.from_euler("xyz", [70, -40, 110], degrees=True).as_matrix()


@pytest.fixture
def fchk(tmp_path):
    def written(**changes):
        water.write_fchk(tmp_path / "water.fchk", **changes)
        return tmp_path / "water.fchk"

    return written


@pytest.mark.parametrize("sign", [1, -1])
def test_label_and_training_frame_of_one_job(labelled, fchk, tmp_path, sign):
    """Whether a program gives the gradient or the forces, the Hessian tells."""
    path, frames = fchk(gradient=sign * water.GRADIENT), tmp_path / "train.xyz"
    (label,), printed = labelled("--from_output", path, "--frames", frames)
    assert np.abs(label.hessian - water.HESSIAN * water.IN_EV).max() < 1e-6
    assert np.abs(label.positions - water.POSITIONS * Bohr).max() < 1e-7
    atoms = read(frames)
    assert np.abs(atoms.positions - label.positions).max() < 1e-8
    assert atoms.info["REF_energy"] == pytest.approx(water.ENERGY * Hartree, abs=1e-9)
    assert np.abs(atoms.arrays["REF_forces"] - FORCES).max() < 1e-6
    assert (atoms.info["charge"], atoms.info["spin"]) == (0, 1)
    assert "REF_hessian" not in atoms.info
    assert "1 with REF_energy (eV), 1 with REF_forces (eV/Å)" in printed
    assert "Hessians in eV/Å²" in printed


def test_energy_is_of_the_level_of_the_hessian(labelled, fchk, tmp_path):
    frames = tmp_path / "train.xyz"
    labelled("--from_output", fchk(energy=-75.0), "--frames", frames)
    assert read(frames).info["REF_energy"] == pytest.approx(-75.0 * Hartree, abs=1e-9)


def test_everything_is_turned_to_the_given_structures(labelled, refused, fchk, tmp_path):
    placed = water.POSITIONS * Bohr @ ROTATION + [3.0, -1.0, 2.0]
    other = placed.copy()
    other[2] += 0.05
    write(tmp_path / "data.traj", [Atoms("OH2", other), Atoms("OH2", placed)])
    path, frames = fchk(), tmp_path / "train.xyz"
    (label,), _ = labelled(tmp_path / "data.traj", "--from_output", path, "--frames", frames)
    assert np.array_equal(label.positions, placed)
    matrix = np.kron(np.eye(3), ROTATION)
    expected = matrix.T @ water.HESSIAN @ matrix * water.IN_EV
    assert np.abs(label.hessian - expected).max() < 1e-5
    assert np.abs(read(frames).arrays["REF_forces"] - FORCES @ ROTATION).max() < 1e-6
    options = ("--from_output", path, "--index", "0")
    error = refused(tmp_path / "data.traj", *options, out="none.npz")
    assert "none of the given structures" in error


def test_mirror_images_are_no_rotations():
    chiral = np.array([[0, 0, 0], [1, 0, 0], [0, 1.2, 0], [0.3, 0.4, 1.5]])
    assert rotation_between(chiral, chiral * [1, 1, -1]) is None
    assert np.allclose(rotation_between(chiral, chiral @ ROTATION), ROTATION)


def job(geometries, hessian, **more):
    return FrequencyJob(water.NUMBERS, np.array(geometries), hessian * water.IN_EV, **more)


def test_a_hessian_in_the_axes_of_another_geometry_of_the_job_is_turned_back():
    """Standard and input orientation; forces belong to the last geometry."""
    last = water.POSITIONS * Bohr
    turned_hessian = turned(water.HESSIAN, ROTATION)
    label, forces = fitted(job([last @ ROTATION, last], turned_hessian, forces=FORCES))
    assert np.abs(label.hessian - water.HESSIAN * water.IN_EV).max() < 1e-9
    assert np.array_equal(label.positions, last) and np.array_equal(forces, FORCES)
    with pytest.raises(ValueError, match="different axes"):
        fitted(job([last], turned_hessian, forces=FORCES))


def test_jobs_that_end_with_a_displaced_geometry_are_refused():
    """The label would be of a geometry that is not that of its Hessian."""
    last, step = water.POSITIONS * Bohr, np.zeros((3, 3))
    step[2, 1] = 0.005
    forward, backward = last + step, last - step
    known = {"forces": FORCES}
    with pytest.raises(ValueError, match="a displacement of the first"):
        fitted(job([last, forward, backward], water.HESSIAN, **known))
    for geometries in ([forward, backward, last], [last, forward, backward, last], [last]):
        label, _ = fitted(job(geometries, water.HESSIAN, **known))
        assert np.array_equal(label.positions, last)


def test_another_order_of_atoms_axes_elements_or_unit_is_refused(refused, fchk):
    order = [0, 1, 2, 6, 7, 8, 3, 4, 5]
    by_axis = np.arange(9).reshape(3, 3).T.ravel()
    root = np.repeat(np.sqrt([15.999, 1.008, 1.008]), 3)
    wrong = {
        "different axes or orders": water.HESSIAN[np.ix_(order, order)],
        "or orders of atoms": turned(water.HESSIAN, ROTATION),
        "in another order": water.HESSIAN[np.ix_(by_axis, by_axis)],
        "mass-weighted": water.HESSIAN / np.outer(root, root) * 4,
    }
    for words, hessian in wrong.items():
        error = refused("--from_output", path := fchk(hessian=hessian))
        assert str(path) in error and words in error


def test_frequencies_of_the_file_must_be_those_of_the_hessian(labelled, refused, fchk):
    labelled("--from_output", fchk(frequencies=water.FREQUENCIES))
    path = fchk(frequencies=water.FREQUENCIES + np.array([0, 0, 8.0]))
    error = refused("--from_output", path, out="none.npz")
    assert "frequency of 4777.9 cm⁻¹ where the file gives 4785.5 cm⁻¹" in error


def test_without_forces_a_slope_can_be_told_from_wrong_axes_by_frequencies(labelled, refused, fchk):
    path = fchk(gradient=None)
    assert "not stationary and the file lacks its forces" in refused("--from_output", path)
    labelled("--from_output", fchk(gradient=None, frequencies=water.FREQUENCIES))
    hessian = turned(water.HESSIAN, ROTATION)
    path = fchk(gradient=None, frequencies=water.FREQUENCIES, hessian=hessian)
    assert "cm⁻¹" in refused("--from_output", path, out="none.npz")


def test_frequencies_confirm_a_noisy_hessian_that_training_takes(labelled, refused, fchk):
    """3 % of the largest element, along a translation, which frequencies leave out."""
    line = np.outer([15.999, 1.008, 1.008], [0.8, -0.6, 0.0]).ravel() / 18.015
    noisy = water.HESSIAN + 0.03 * np.outer(line, line)
    assert "moving all atoms together" in refused("--from_output", fchk(hessian=noisy))
    labelled("--from_output", fchk(hessian=noisy, frequencies=water.FREQUENCIES))


def test_orca_hess_with_and_without_its_output(labelled, refused, tmp_path):
    path, frames = tmp_path / "water.hess", tmp_path / "train.xyz"
    options = ("--from_output", path, "--overwrite", "--frames", frames)
    water.write_orca_hess(path)
    (label,), printed = labelled(*options)
    assert np.abs(label.hessian - water.HESSIAN * water.IN_EV).max() < 1e-6
    assert "0 with REF_energy" in printed
    water.write_orca_out(tmp_path / "water.out")
    labelled(*options)
    assert read(frames).info["REF_energy"] == pytest.approx(water.ENERGY * Hartree, abs=1e-6)
    assert np.abs(read(frames).arrays["REF_forces"] - FORCES).max() < 1e-5
    water.write_orca_out(tmp_path / "water.out", header="ORCA NUMERICAL FREQUENCIES")
    assert "0 with REF_energy (eV), 0 with REF_forces" in labelled(*options)[1]
    water.write_orca_out(tmp_path / "water.out", positions=1.1 * water.POSITIONS)
    assert "ends with another geometry" in refused(*options)


def test_orca_hess_that_is_cut_off(refused, tmp_path):
    path = tmp_path / "water.hess"
    water.write_orca_hess(path)
    path.write_text(path.read_text()[:900])
    assert "not a whole .hess file" in refused("--from_output", path)


def test_files_without_hessians_name_the_file_to_give(refused, fchk, tmp_path):
    error = refused("--from_output", fchk(hessian=None))
    assert "no block 'Cartesian Force Constants'" in error
    water.write_orca_out(tmp_path / "water.out")
    assert "give the .hess file" in refused("--from_output", tmp_path / "water.out")
    (tmp_path / "notes.txt").write_text("nothing\n")
    assert "cclib cannot read" in refused("--from_output", tmp_path / "notes.txt")
    assert "no such file" in refused("--from_output", tmp_path / "absent.out")


@pytest.mark.parametrize("name", ["labels.npz", "labels.h5"])
def test_label_files_are_no_outputs(labelled, refused, fchk, tmp_path, name):
    labelled("--from_output", fchk(), out=name)
    error = refused("--from_output", tmp_path / name, out="none.npz")
    assert f"{name}: this is a label file already" in error
    assert f"--piwsl_hessian_file={tmp_path / name}" in error


@pytest.mark.parametrize("ending", ["xyz", "extxyz", "traj", "db", "CIF", "vasp"])
def test_labels_are_no_file_of_structures(refused, fchk, tmp_path, ending):
    error = refused("--from_output", fchk(), out=f"labels.{ending}")
    assert ".npz" in error and ".h5" in error
    assert not (tmp_path / f"labels.{ending}").exists()


def test_a_missing_cclib_is_named(labelled, refused, fchk, tmp_path, monkeypatch):
    """Formatted checkpoints do without."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "cclib" else find(name)
    )
    labelled("--from_output", fchk())
    (tmp_path / "job.out").write_text("  Northwest Computational Chemistry Package\n")
    error = refused("--from_output", tmp_path / "job.out", out="none.npz")
    assert "pip install cclib" in error


def test_training_frames_of_a_calculator_and_files_in_the_way(refused, fchk, data, tmp_path):
    frames = ("--frames", tmp_path / "x.xyz")
    assert "--frames has no use" in refused(data, "--calculator", "a:b", *frames)
    (tmp_path / "x.xyz").write_text("precious")
    options = ("--from_output", fchk(), "--frames", tmp_path / "x.xyz")
    assert "--overwrite" in refused(*options)
    assert (tmp_path / "x.xyz").read_text() == "precious"


def test_imaginary_modes_that_do_not_fit_the_claim(labelled, fchk):
    path = fchk()
    printed = labelled("--from_output", path, "--expect", "saddle")[1]
    assert f"WARNING: {path}: imaginary modes: 0, but a saddle has 1" in printed
    printed = labelled("--from_output", path, "--expect", "minimum", "--overwrite")[1]
    assert "imaginary modes" not in printed


@pytest.mark.parametrize("constant", [143.0, -143.0])
def test_frequency_of_a_spring(constant):
    """ω = √(k/μ); 1 √(eV/(Å² u)) is 521.47 cm⁻¹. A linear molecule has one mode here."""
    line = np.zeros(6)
    line[[0, 3]] = 1, -1
    positions = np.array([[0, 0, 0], [1.1, 0, 0]])
    label = HessianLabel(np.array([7, 7]), positions, hessian=constant * np.outer(line, line))
    (mode,) = frequencies(label, np.array([14.003, 14.003]))
    assert mode == pytest.approx(np.sign(constant) * 521.47 * np.sqrt(143.0 / 7.0015), rel=1e-5)
    assert imaginary_modes(label) == (constant < 0)
