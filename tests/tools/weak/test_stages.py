"""The folder of a run, other structures than molecules, and what takes part."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule
from ase.calculators.lj import LennardJones

from .conftest import bundled

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
CHEAP = ("--cheap_labels", "cheap.xyz")


def test_a_run_killed_among_the_cheap_labels_goes_on(weak, files):
    given = ["--calculator", "known_methods:slow", "--corrections", "known_methods:weak"]
    command = [sys.executable, "-m", "piwsl_plugins", "weak", "train.xyz", "pool.xyz"]
    running = subprocess.Popen(
        [*command, "--out", "weak.xyz", *given],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}"},
        stderr=subprocess.DEVNULL,
    )
    partial = Path("weak.stages/cheap.xyz.partial")
    while not list(partial.glob("*.npz")):
        assert running.poll() is None and time.sleep(0.05) is None
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not Path("weak.stages/cheap.xyz").exists()
    found, _ = weak(*given)
    whole, _ = weak(*given, out="whole.xyz")
    assert Path("weak.xyz").read_bytes() == Path("whole.xyz").read_bytes()
    assert len(found) == len(whole) == 12
    assert not partial.exists()


def test_other_labels_of_the_same_frames_are_refused(weak, refused):
    weak(*CHEAP, "--until", "correction")
    frames = ase.io.read("train.xyz", ":")
    frames[5].arrays["REF_forces"][0, 0] += 0.01
    ase.io.write("train.xyz", frames)
    error = refused(*CHEAP, "--until", "correction")
    assert "training frames" in error and "other settings" in error and len(error) < 300


def test_other_numbers_of_models_are_refused(weak, refused):
    weak(*CHEAP, "--models", 0)
    error = refused(*CHEAP, "--corrections", "known_methods:weak")
    assert "models" in error and "--overwrite" in error


def test_a_wrong_call_throws_no_stage_away(weak, refused):
    weak(*CHEAP, "--until", "correction")
    before = {p: p.read_bytes() for p in Path("weak.stages").rglob("*.*") if p.is_file()}
    given = ("--until", "correction", "--overwrite")
    assert "--held_out=9" in refused(*CHEAP, *given, "--held_out", 9)
    assert {p: p.read_bytes() for p in Path("weak.stages").rglob("*.*") if p.is_file()} == before
    weak(*CHEAP, *given, "--held_out", 3)
    valid = ase.io.read("weak.stages/correction_0/valid.xyz", ":")
    assert len(valid) == 3


def test_a_training_that_failed_can_be_given_otherwise(weak, refused):
    """Nothing that the first one made would be mixed with the second's."""
    for option in ("-d", "-z"):  # neither is true of the words that follow
        error = refused(
            *(*CHEAP, "--models", 1, "--train", f"test {option} {{train}}{{seed}}{{folder}}"),
            exit_code=1,
        )
        assert "training correction 1 of 1 failed" in error


def argon(index, epsilon=None):
    atoms = bulk("Ar", cubic=True) * 2
    strain = np.random.default_rng(index).normal(scale=0.01, size=(3, 3))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    atoms.rattle(0.1, seed=index)
    if epsilon is not None:
        atoms.calc = LennardJones(epsilon=epsilon, sigma=3.4, rc=6.0)
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.info["REF_stress"] = atoms.get_stress()
        atoms.calc = None
    return atoms


def test_cells_have_stress(weak):
    """Cheap labels plus the exact correction are the expensive ones, stress included."""
    ase.io.write("train.xyz", [argon(index, 0.024) for index in range(10)])
    ase.io.write("pool.xyz", [argon(index) for index in range(10, 15)])
    corrections = ("--corrections", "known_methods:argon_change", "known_methods:argon_change")
    found, printed = weak("--calculator", "known_methods:argon_low", *corrections)
    assert "5 with energy, 5 with forces, 5 with stress" in printed
    for index, atoms in zip(range(10, 15), found, strict=True):
        expected = argon(index, 0.024)
        assert atoms.info["REF_stress"] == pytest.approx(expected.info["REF_stress"], abs=1e-6)
        assert atoms.arrays["REF_forces"] == pytest.approx(expected.arrays["REF_forces"], abs=1e-6)
        assert atoms.info["REF_energy"] == pytest.approx(expected.info["REF_energy"], abs=1e-6)


def test_stress_that_the_training_frames_lack_is_left_out(weak):
    frames = [argon(index, 0.024) for index in range(10)]
    for atoms in frames:
        del atoms.info["REF_stress"]
    ase.io.write("train.xyz", frames)
    ase.io.write("pool.xyz", [argon(10)])
    found, printed = weak(
        "--calculator", "known_methods:argon_low", "--corrections", "known_methods:argon_change"
    )
    assert "REF_stress" not in found[0].info and "1 with forces" in printed


@pytest.mark.parametrize("n_with", [0, 4, 10])
def test_nequip_gets_the_stress_of_all_frames_or_none(n_with, weak, monkeypatch):
    """Some molecules among cells, in NequIP's own command line."""
    frames = [argon(index, 0.024) for index in range(10)]
    for atoms in frames[n_with:]:
        del atoms.info["REF_stress"]
    ase.io.write("train.xyz", frames)
    ase.io.write("pool.xyz", [argon(10)])
    Path("nequip-train").write_text(
        f"#!{sys.executable}\nimport sys, pathlib\nprint(sys.argv)\n"
        "folder = next(word for word in sys.argv if word.startswith('hydra.run.dir='))\n"
        "pathlib.Path(folder.partition('=')[2].strip(chr(39)), 'best.ckpt').touch()\n"
    )
    Path("nequip-train").chmod(0o755)
    monkeypatch.setenv("PATH", str(Path.cwd()))
    given = ("--calculator", "known_methods:argon_low", "--train", "nequip-train -cn mine.yaml")
    _, printed = weak(*given, "--until", "train")
    log = Path("weak.stages/correction_0/training.log").read_text()
    assert ("REF_stress: stress" in log) == (n_with == 10)
    assert ("only 4 of 10 training frames have a stress" in printed) == (n_with == 4)


def test_an_ion_is_another_frame_than_the_molecule(weak):
    pool = bundled("gfn2_hot", ":2")
    ion = pool[0].copy()
    ion.info |= {"charge": 1, "spin": 2}
    ase.io.write("pool.xyz", [*pool, ion])
    given = ("--calculator", "known_methods:lennard_jones", "--corrections", "known_methods:weak")
    given += ("--charges", "ignored")
    found, printed = weak(*given)
    assert len(found) == 3 and "repeated" not in printed
    assert found[2].info["charge"] == 1


def test_a_pool_of_other_phases_is_no_other_unit(weak):
    """Slabs alone have no bond as short as those of the molecules on them."""
    covered = []
    for index in range(10):
        atoms = fcc111("Cu", (2, 2, 3), vacuum=6.0)
        water = molecule("H2O")
        water.translate(atoms.positions[-1] + [0.0, 0.0, 2.5 + 0.05 * index])
        covered.append(atoms + water)
        covered[-1].info["REF_energy"] = (-0.1) ** index
    clean = fcc111("Cu", (2, 2, 3), vacuum=6.0)
    clean.rattle(0.05, seed=1)
    ase.io.write("train.xyz", covered)
    ase.io.write("pool.xyz", [clean])
    found, _ = weak("--calculator", "known_methods:lennard_jones", "--until", "cheap")
    assert found == []
