"""Whole runs with known methods; those that train corrections are in test_hosts.py."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import molecule

from .conftest import bundled
from .known_methods import STRONG

CHEAP = ("--cheap_labels", "cheap.xyz")
KEYS = ("--energy_key", "--forces_key", "--stress_key")


def energies(frames):
    return np.array([atoms.info["REF_energy"] for atoms in frames])


def forces(frames):
    return np.concatenate([atoms.arrays["REF_forces"] for atoms in frames])


def test_a_cheap_method_that_is_the_reference_gives_the_reference(weak):
    """Correction 0, and offsets that are the difference of two zeros of the energy."""
    same = bundled("gfn2_train", "3:13") + bundled("gfn2_hot", ":12")
    for atoms in same:
        atoms.info["REF_energy"] -= 11.0 * len(atoms)
    ase.io.write("same.xyz", same)
    found, printed = weak("--cheap_labels", "same.xyz", "--train", "true {train} {seed} {folder}")
    assert "no correction is trained" in printed
    assert np.abs(energies(found) - energies(bundled("gfn2_hot", ":12"))).max() < 1e-6
    assert np.abs(forces(found) - forces(bundled("gfn2_hot", ":12"))).max() < 1e-6


def test_weak_labels_are_cheap_ones_plus_the_mean_correction(weak):
    found, printed = weak(*CHEAP, "--corrections", "known_methods:weak", "known_methods:weaker")
    cheap = bundled("gfn1_hot", ":12")
    change = -0.009 * np.concatenate([atoms.positions for atoms in cheap])
    assert np.abs(forces(found) - forces(cheap) - change).max() < 1e-7
    spread = np.concatenate([atoms.arrays["weak_forces_std"] for atoms in found])
    r = np.concatenate([atoms.positions for atoms in cheap])
    expected = 0.002 / np.sqrt(2) * np.sqrt(np.square(r).mean(axis=1))
    assert spread == pytest.approx(expected, abs=1e-7)
    assert "3 isolated atoms" in printed and "12 with energy, 12 with forces" in printed
    # the energies have no mean error on the frames that were seen
    train = bundled("gfn2_train", "3:13")
    low = bundled("gfn1_train", "3:13")
    square = np.array([np.square(atoms.positions).sum() for atoms in train])
    offset = np.mean(energies(train) - energies(low) - 0.5 * 0.009 * square)
    hot = np.array([np.square(atoms.positions).sum() for atoms in cheap])
    assert energies(found) == pytest.approx(energies(cheap) + 0.5 * 0.009 * hot + offset, abs=1e-6)


@pytest.mark.slow
def test_neither_order_nor_workers_change_a_label(weak):
    given = ("--calculator", "known_methods:lennard_jones")
    given = (*given, "--corrections", "known_methods:weak", "known_methods:strong")
    first, _ = weak(*given)
    ase.io.write("train.xyz", ase.io.read("train.xyz", "::-1"))
    ase.io.write("pool.xyz", ase.io.read("pool.xyz", "::-1"))
    second, _ = weak(*given, "--workers", 2, out="other.xyz")
    for one, other in zip(first, reversed(second), strict=True):
        assert one.info == other.info
        assert np.array_equal(one.arrays["REF_forces"], other.arrays["REF_forces"])


def test_a_constant_of_a_correction_has_no_effect(weak):
    one, _ = weak(*CHEAP, "--corrections", "known_methods:weak")
    other, _ = weak(*CHEAP, "--corrections", "known_methods:shifted", out="other.xyz")
    assert energies(one) == pytest.approx(energies(other), abs=1e-6)
    assert "weak_energy_std" not in one[0].info, "one model has no spread"


def test_frames_on_which_models_differ_too_much_are_left_out(weak):
    found, printed = weak(*CHEAP, "--corrections", "known_methods:nothing", "known_methods:strong")
    changes = forces(bundled("gfn2_train", "3:13")) - forces(bundled("gfn1_train", "3:13"))
    limit = np.sqrt(np.square(changes).mean())
    spreads = [
        STRONG / np.sqrt(2) * np.sqrt(np.square(a.positions).mean())
        for a in ase.io.read("pool.xyz", ":")
    ]
    n_left = sum(spread <= limit for spread in spreads)
    assert 0 < n_left < 12
    assert len(found) == n_left
    assert f"{12 - n_left} structures left out, on which the models differ by more" in printed


def test_distillation_writes_the_labels_of_the_calculator(weak):
    found, _ = weak("--calculator", "known_methods:weak", "--models", 0)
    pool = bundled("gfn2_hot", ":12")
    assert forces(found) == pytest.approx(-0.01 * np.concatenate([a.positions for a in pool]))
    assert energies(found) == pytest.approx(
        [0.005 * np.square(atoms.positions).sum() for atoms in pool]
    )


def test_offsets_put_cheap_labels_on_the_scale_of_the_training_frames(weak):
    """The cheap method is the expensive one less seven and ten eV per molecule of two kinds."""
    frames = [molecule(name) for name in ("H2O", "CH3OH") for _ in range(3)]
    for index, atoms in enumerate(frames):
        atoms.rattle(0.02, seed=index)
    for path, chosen in (("train.xyz", frames), ("pool.xyz", [*frames, molecule("C2H6")])):
        copies = [atoms.copy() for atoms in chosen]
        for index, atoms in enumerate(copies):
            atoms.rattle(0.01, seed=100 + index + len(chosen))
            if path == "train.xyz":
                shift = 7.0 if len(atoms) == 3 else 10.0
                squares = np.square(atoms.positions).sum()
                atoms.info["REF_energy"] = 0.005 * float(squares) + shift
        ase.io.write(path, copies)
    given = ("--calculator", "known_methods:weak", "--models", 0, "--offsets")
    found, printed = weak(*given)
    for atoms in found[:-1]:
        shift = 7.0 if len(atoms) == 3 else 10.0
        expected = 0.005 * np.square(atoms.positions).sum() + shift
        assert atoms.info["REF_energy"] == pytest.approx(expected, abs=1e-6)
        assert atoms.arrays["REF_forces"] == pytest.approx(-0.01 * atoms.positions, abs=1e-6)
    assert "REF_energy" not in found[-1].info and "REF_forces" in found[-1].arrays
    assert "1 structures get no energy" in printed and "6 training frames" in printed
    assert "whatever the two methods are" not in printed


def test_offsets_that_leave_nothing_open_or_everything_are_said(weak, refused):
    """One frame fits its offset whatever the methods are; water says nothing of H2O2."""
    water = molecule("H2O")
    water.info["REF_energy"] = -2000.0
    ase.io.write("train.xyz", water)
    other = molecule("H2O")
    other.rattle(0.05, seed=1)
    ase.io.write("pool.xyz", [other])
    given = ("--calculator", "known_methods:weak", "--models", 0, "--offsets")
    found, printed = weak(*given)
    assert "is 0 whatever the two methods are" in printed
    difference = 0.005 * (np.square(other.positions).sum() - np.square(water.positions).sum())
    assert found[0].info["REF_energy"] == pytest.approx(-2000.0 + difference, abs=1e-6)
    ase.io.write("pool.xyz", molecule("H2O2"))
    assert "no structure would get an energy" in refused(*given, "--overwrite")


def test_corrections_have_offsets_of_their_own(refused):
    error = refused(*CHEAP, "--offsets", "--corrections", "known_methods:weak")
    assert "--offsets goes with --models=0" in error


def test_energies_alone(weak):
    for name in ("train.xyz", "cheap.xyz"):
        frames = ase.io.read(name, ":")
        for atoms in frames:
            del atoms.arrays["REF_forces"]
        ase.io.write(name, frames)
    found, printed = weak(*CHEAP, "--corrections", "known_methods:weak")
    assert (
        "12 with energy" in printed and "forces" not in printed.split("weak.xyz:")[1].split("\n")[0]
    )
    assert "REF_forces" not in found[0].arrays


@pytest.mark.parametrize("n", [3, 4])
def test_energies_alone_that_offsets_explain_are_refused(n, weak, refused):
    """Three molecules of three elements: any two methods agree on them after offsets."""
    frames = [molecule(name) for name in ("H2O", "CH4", "CO2", "CH3OH")]
    for index, atoms in enumerate(frames):
        atoms.info["REF_energy"] = (-3.0) ** index
    ase.io.write("train.xyz", frames[:n])
    given = ("--calculator", "known_methods:lennard_jones")
    if n == 3:
        error = refused(*given, "--train", "true {train} {seed} {folder}")
        assert "3 training frames with energies alone are too few" in error
        assert "more frames" in error and error.count("\n") == 1
        assert not Path("weak.xyz").exists()
    else:
        _, printed = weak(*given, "--until", "correction", "--models", 1)
        assert "1 corrections are in" in printed


def test_energies_alone_with_a_cheap_method_that_has_forces(weak):
    """The forces are the slope of the corrected energy."""
    frames = ase.io.read("train.xyz", ":")
    for atoms in frames:
        del atoms.arrays["REF_forces"]
    ase.io.write("train.xyz", frames)
    found, printed = weak(*CHEAP, "--corrections", "known_methods:weak", "known_methods:weaker")
    cheap = bundled("gfn1_hot", ":12")
    change = -0.009 * np.concatenate([atoms.positions for atoms in cheap])
    assert np.abs(forces(found) - forces(cheap) - change).max() < 1e-7
    assert "12 with energy, 12 with forces (the slope of the energies: no forces" in printed
    weights = [atoms.info["config_forces_weight"] for atoms in found]
    assert np.median(weights) == pytest.approx(0.5, abs=0.1), "beside the median spread"


def test_forces_of_another_name_are_not_passed_over_in_silence(weak):
    """One frame has them in an array, one as ASE's own, the others under the name that is read."""
    frames = ase.io.read("train.xyz", ":")
    frames[3].arrays["dft_forces"] = frames[3].arrays.pop("REF_forces")
    frames[4].arrays["forces"] = frames[4].arrays.pop("REF_forces")
    for atoms in frames[5:]:
        atoms.set_momenta(0.1 * atoms.positions)
    ase.io.write("train.xyz", frames)
    given = (*CHEAP, "--corrections", "known_methods:weak")
    _, printed = weak(*given)
    assert (
        "2 of 10 frames of train.xyz have no forces under 'REF_forces', but 'dft_forces', "
        in printed
    )
    assert "'forces', which is not used" in printed and "--forces_key" in printed
    assert "12 with forces\n" in printed, "of the others forces are learned"
    for atoms in frames[3:]:
        atoms.arrays["forces"] = atoms.arrays.pop("REF_forces", 0.1 * atoms.positions)
    ase.io.write("train.xyz", frames)
    _, printed = weak(*given, out="other.xyz")
    assert "10 of 10 frames of train.xyz have no forces" in printed and "momenta" not in printed
    assert "12 with forces (the slope of the energies: no forces were learned)" in printed


def test_failures_and_frames_in_both_files_are_counted(weak):
    pool = ase.io.read("pool.xyz", ":")
    ase.io.write("pool.xyz", pool + bundled("gfn2_train", "5:7") + pool[:1])
    given = ("--calculator", "known_methods:failing", "--corrections", "known_methods:weak")
    found, printed = weak(*given)
    assert "2 frames of pool.xyz left out: they are in train.xyz too" in printed
    assert "1 repeated frames of pool.xyz used once" in printed
    assert "SCF did not converge" in printed
    assert 0 < len(found) < 12


@pytest.mark.parametrize("offsets", [(), ("--offsets",)])
def test_without_corrections_too_the_first_stage_can_be_the_last(offsets, weak):
    """Nothing is written beside the folder, and the next call goes on to the labels."""
    given = ("--calculator", "known_methods:weak", "--models", 0, *offsets)
    found, printed = weak(*given, "--until", "cheap")
    assert found == [] and "cheap labels are in weak.stages/cheap.xyz" in printed
    cheap = Path("weak.stages/cheap.xyz")
    assert len(ase.io.read(cheap, ":")) == (22 if offsets else 12)
    made = cheap.stat().st_mtime_ns
    assert len(weak(*given)[0]) == 12 and cheap.stat().st_mtime_ns == made


def test_the_first_stage_serves_another_environment(weak):
    """Cheap labels of the training frames and the pool are found in the file that is named."""
    method = ("--calculator", "known_methods:weak")
    offsets = ("--models", 0, "--offsets")
    direct, _ = weak(*method, *offsets)
    _, printed = weak(*method, "--until", "cheap", out="first.xyz")
    assert "with --cheap_labels first.stages/cheap.xyz and another --out" in printed
    given = ("--cheap_labels", "first.stages/cheap.xyz")
    found, _ = weak(*given, *offsets, out="second.xyz")
    np.testing.assert_allclose(energies(found), energies(direct), atol=1e-7)
    _, printed = weak(*given, "--until", "cheap", out="third.xyz")
    assert "cheap labels are those of first.stages/cheap.xyz" in printed


def test_the_first_stage_serves_frames_with_names_of_their_own(weak):
    """Its labels have names of ours, in whatever names the training frames have theirs."""
    frames = ase.io.read("train.xyz", ":")
    for atoms in frames:
        atoms.info["dft"] = atoms.info.pop("REF_energy")
        atoms.arrays["dft_f"] = atoms.arrays.pop("REF_forces")
    ase.io.write("train.xyz", frames)
    names = ("--energy_key", "dft", "--forces_key", "dft_f")
    method = ("--calculator", "known_methods:weak")
    offsets = ("--models", 0, "--offsets")
    direct, _ = weak(*method, *offsets, *names)
    weak(*method, "--until", "cheap", *names, out="first.xyz")
    given = ("--cheap_labels", "first.stages/cheap.xyz")
    found, _ = weak(*given, *offsets, *names, out="second.xyz")
    for one, other in zip(found, direct, strict=True):
        assert one.info["dft"] == pytest.approx(other.info["dft"], abs=1e-7)
        assert one.arrays["dft_f"] == pytest.approx(other.arrays["dft_f"], abs=1e-7)


def test_failures_of_the_first_stage_are_known_elsewhere(weak, refused):
    """As in one environment; of other frames without cheap labels nothing is known."""
    for name, stretched in (("train", 5), ("pool", 2)):
        frames = ase.io.read(f"{name}.xyz", ":")
        frames[stretched].set_distance(0, 1, 1.7, fix=0)
        ase.io.write(f"{name}.xyz", frames)
    method, offsets = ("--calculator", "known_methods:failing"), ("--models", 0, "--offsets")
    direct, printed = weak(*method, *offsets)
    assert "1 frames of train.xyz left out, which have no cheap label" in printed
    weak(*method, "--until", "cheap", out="first.xyz")
    given = ("--cheap_labels", "first.stages/cheap.xyz", *offsets)
    found, again = weak(*given, out="second.xyz")
    assert energies(found) == pytest.approx(energies(direct), abs=1e-7)
    assert again.count("SCF did not converge") == printed.count("SCF did not converge") > 1
    ase.io.write("cheap.xyz", ase.io.read("first.stages/cheap.xyz", ":"))
    error = refused("--cheap_labels", "cheap.xyz", *offsets)
    assert "1 of 10 training frames have none" in error


def test_cheap_labels_of_a_structure_are_taken_together(weak):
    """The energies are in one file, in front of the one with the forces too."""
    frames = ase.io.read("cheap.xyz", ":")
    expected, _ = weak(*CHEAP, "--models", 0)
    for atoms in frames:
        atoms.arrays["other"] = atoms.arrays.pop("REF_forces")
    ase.io.write("energies.xyz", frames)
    given = ("--cheap_labels", "energies.xyz", "cheap.xyz", "--models", 0)
    found, printed = weak(*given, out="both.xyz")
    assert np.array_equal(forces(found), forces(expected))
    assert "frames of energies.xyz have no forces under 'REF_forces', but 'other'" in printed


def test_expensive_labels_are_no_cheap_ones(refused):
    given = ("--cheap_labels", "cheap.xyz", "train.xyz")
    error = refused(*given, "--models", 0, "--offsets")
    assert "--cheap_labels=train.xyz: these are the expensive labels" in error


def test_cheap_labels_of_two_methods_are_refused(weak, refused):
    for name in ("weak", "weaker"):
        weak("--calculator", f"known_methods:{name}", "--until", "cheap", out=f"{name}.xyz")
    given = ("--cheap_labels", "weak.stages/cheap.xyz", "weaker.stages/cheap.xyz")
    error = refused(*given, "--models", 0)
    assert "known_methods:weak (" in error and "known_methods:weaker (" in error


def test_two_energies_of_one_training_frame_are_refused(weak, refused):
    """As of two methods in one file; a copy does no harm."""
    frames = ase.io.read("train.xyz", ":")
    again = frames[-1].copy()
    ase.io.write("train.xyz", [*frames, again])
    given = (*CHEAP, "--models", 0, "--offsets")
    assert "1 repeated frames of train.xyz used once" in weak(*given)[1]
    again.info["REF_energy"] += 0.5
    ase.io.write("train.xyz", [*frames, again])
    assert f"train.xyz frame {len(frames)}: the geometry of train.xyz" in refused(*given)


def test_what_is_read_is_not_thrown_away(weak, refused):
    weak("--calculator", "known_methods:weak", "--until", "cheap")
    given = ("--cheap_labels", "weak.stages/cheap.xyz", "--models", 0, "--overwrite")
    assert "would throw away weak.stages/cheap.xyz" in refused(*given)
    assert Path("weak.stages/cheap.xyz").is_file()


def test_cheap_labels_of_another_name_are_named(refused):
    frames = ase.io.read("train.xyz", ":")
    for atoms in frames:
        atoms.info["pbe_energy"] = atoms.info.pop("REF_energy")
    ase.io.write("train.xyz", frames)
    error = refused("--cheap_labels", "cheap.xyz", "--energy_key", "pbe_energy", "--models", 0)
    assert "there is 'REF_energy'" in error and "one name" in error


def test_energies_per_atom_are_refused(refused):
    """No energies of the elements explain them where structures differ in size."""
    names = ("H2O", "CH3OH", "C2H6", "CH3CH2OH", "CO2", "H2CO", "C6H6")
    frames = [molecule(name) for name in names]
    for atoms in frames:
        E0s = {1: -13.6, 6: -1027.0, 8: -2038.0}
        atoms.info["REF_energy"] = sum(E0s[z] for z in atoms.numbers)
        atoms.info["REF_energy"] /= len(atoms)
    ase.io.write("train.xyz", frames)
    ase.io.write("pool.xyz", molecule("C2H4"))
    error = refused("--calculator", "known_methods:weak", "--models", 0, "--offsets")
    assert "not per atom" in error and "eV/atom (median)" in error


def test_a_stage_that_there_is_not_writes_no_labels(weak, refused):
    """Of models that are given, and of two methods that agree."""
    given = ("--corrections", "known_methods:weak", "--until", "train")
    assert "--until=train: --corrections are trained already" in refused(*CHEAP, *given)
    same = ("--cheap_labels", "gfn2.xyz")
    ase.io.write("gfn2.xyz", [*ase.io.read("train.xyz", ":"), *ase.io.read("pool.xyz", ":")])
    found, printed = weak(*same, "--until", "correction")
    assert found == [] and "there is no correction for the stage 'correction'" in printed


def test_stages_one_by_one(weak):
    weak(*CHEAP, "--until", "cheap")
    found, printed = weak(*CHEAP, "--until", "correction", "--models", 2)
    assert found == [] and "2 corrections are in weak.stages" in printed
    for number in range(2):
        folder = Path("weak.stages") / f"correction_{number}"
        train, valid = (ase.io.read(folder / f"{n}.xyz", ":") for n in ("train", "valid"))
        assert (len(train), len(valid)) == (9, 1)
        assert abs(energies(train).mean()) < 1e-6, "offsets are taken off"
        differences = {tuple(a.positions.ravel()): a for a in train}
        for high, low in zip(bundled("gfn2_train", "3:13"), bundled("gfn1_train", "3:13")):
            mine = differences.get(tuple(high.positions.ravel()))
            if mine is not None:
                wanted = high.arrays["REF_forces"] - low.arrays["REF_forces"]
                assert mine.arrays["REF_forces"] == pytest.approx(wanted, abs=1e-7)


def test_both_errors_are_of_the_frames_that_the_models_have_not_seen(weak, monkeypatch):
    """The cheap method's is what stands in the validation files: offsets of seen frames off."""

    def known(command, corrections, *given):
        return [Path("known_methods:weak")] * len(corrections)

    monkeypatch.setattr("piwsl_plugins.tools.weak.run.train", known)
    _, printed = weak(*CHEAP, "--train", "true {train} {seed} {folder}")
    held_out = [a for p in Path("weak.stages").glob("*/valid.xyz") for a in ase.io.read(p, ":")]
    energy, force = (np.sqrt(np.square(v).mean()) for v in (energies(held_out), forces(held_out)))
    line = next(line for line in printed.splitlines() if "after offsets" in line)
    assert line.split()[4:9] == [
        "E",
        f"{1e3 * energy / 9:.2f}",
        "meV/atom",
        "F",
        f"{1e3 * force:.1f}",
    ]
    assert len(held_out) == 3 and "(3 held-out frames)" in line


def test_a_model_of_the_expensive_method_is_no_correction(refused):
    """Frames whose forces are those of springs, and a cheap method that has half of them."""
    for name, k in (("train.xyz", 0.2), ("cheap.xyz", 0.1)):
        frames = ase.io.read(name, ":")
        for atoms in frames:
            atoms.info["REF_energy"] = 0.5 * k * np.square(atoms.positions).sum() + len(atoms)
            atoms.arrays["REF_forces"] = -k * atoms.positions
        ase.io.write(name, frames)
    error = refused(*CHEAP, "--corrections", "known_methods:strong")
    assert "a model of the expensive method itself" in error and error.count("\n") == 1


def test_nothing_of_another_run_is_overwritten(weak, refused):
    corrections = ("--corrections", "known_methods:weak")
    weak(*CHEAP, *corrections)
    before = Path("weak.xyz").read_bytes()
    error = refused("--calculator", "known_methods:weak", *corrections)
    assert "was made with other settings" in error and "--overwrite" in error
    assert Path("weak.xyz").read_bytes() == before
    weak("--calculator", "known_methods:lennard_jones", *corrections, "--overwrite")
    assert Path("weak.xyz").read_bytes() != before
    Path("weak.xyz").write_text("mine")
    assert "was not written from" in refused(*CHEAP, *corrections)
    assert Path("weak.xyz").read_text() == "mine"
