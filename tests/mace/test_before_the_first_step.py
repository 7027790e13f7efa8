"""Runs that would learn nothing, or a constant, end before the first step; others do not."""

import ast

import ase.io
import numpy as np
import pytest
import torch
from ase.build import molecule
from mace.calculators import MACECalculator

from .conftest import (
    ELEMENTS,
    R_MAX,
    assert_same_weights,
    frames,
    isolated_atoms,
    make_model,
    train,
    write_files,
)
from .test_matching import refused
from .test_pool import bare
from .test_trainer import log

OFF = {"piwsl_pitc_weight": 0, "max_num_epochs": 1}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """``pretrained(elements)``: path of a model, and frames with what it says of them as labels."""
    folder = tmp_path_factory.mktemp("pretrained")

    def made(elements=ELEMENTS):
        E0s = np.array([[{1: -10.0, 6: -50.0, 7: -70.0, 8: -100.0}[z] for z in elements]])
        model = make_model(
            atomic_numbers=elements, num_elements=len(elements), atomic_energies=E0s, r_max=R_MAX
        )
        path = folder / f"{len(elements)}.model"
        torch.save(model, path)
        calculator = MACECalculator(str(path), device="cpu", default_dtype="float64")
        structures = frames("ethanol_gfn2_train", 8)
        for atoms in structures:
            atoms.calc = calculator
            atoms.info["REF_energy"] = atoms.get_potential_energy()
            atoms.arrays["REF_forces"] = atoms.get_forces()
            atoms.calc = None
        return path, structures

    return made


def tuning(folder, pretrained, offset, elements=ELEMENTS, **options):
    """Files and options of fine-tuning to the same energies, off by a constant per atom (eV)."""
    path, structures = pretrained(elements)
    for atoms in structures:
        atoms.info["REF_energy"] += offset * len(atoms)
    files = {"train_file": folder / "train.xyz", "valid_file": folder / "valid.xyz"}
    ase.io.write(files["train_file"], structures[:6])
    ase.io.write(files["valid_file"], structures[6:])
    given = {"foundation_model": path, "multiheads_finetuning": False, "E0s": "estimated", **OFF}
    return files, given | options


@pytest.mark.parametrize(("offset", "warned"), [(0.4, False), (-0.6, True)])
def test_a_pretrained_model_with_the_elements_of_the_data(offset, warned, tmp_path, pretrained):
    """MACE 0.3.16 keeps its E0s. The check changes nothing of the training."""
    files, options = tuning(tmp_path, pretrained, offset)
    found = train(tmp_path / "run", files, **options)
    del options["piwsl_pitc_weight"]
    assert_same_weights(found, train(tmp_path / "plain", files, loss="weighted", **options))
    text = log(tmp_path / "run")
    assert ("WARNING: PIWSL: --E0s=estimated: before the first step" in text) == warned
    assert (f"the model's energies lie {abs(offset):.4g} eV/atom from the labels" in text) == warned


def test_energies_of_another_method_are_refused(tmp_path, pretrained, capfd):
    files, options = tuning(tmp_path, pretrained, 12.0)
    message = refused(capfd, tmp_path / "run", files, **options)
    assert message.startswith("--E0s=estimated: before the first step the model's energies lie 12 ")
    assert "its forces are of the right size (RMS error" in message
    assert "MACE keeps the E0s of a pretrained model" in message and "fine_tuning.md" in message
    assert not list(tmp_path.rglob("*.pt"))
    again = refused(capfd, tmp_path / "foundation", files, **options | {"E0s": "foundation"})
    assert "MACE keeps the E0s" in again, "that --E0s=estimated does not help"
    train(tmp_path / "forces", files, **options, energy_weight=0)  # nobody reads the energies


def test_E0s_are_not_estimated_by_a_model_of_another_precision(tmp_path, pretrained, capfd):
    files, options = tuning(tmp_path, pretrained, 0.0)
    model = torch.load(options["foundation_model"], weights_only=False)
    options["foundation_model"] = tmp_path / "single.model"
    torch.save(model.float(), options["foundation_model"])
    message = refused(capfd, tmp_path / "run", files, **options)
    assert message.startswith("--E0s=estimated: ") and "--default_dtype=float32" in message
    train(tmp_path / "single", files, **options, default_dtype="float32")


def test_a_pretrained_model_of_more_elements(tmp_path, pretrained, capfd):
    """MACE takes the E0s that it is given, and the remedy is one."""
    files, options = tuning(tmp_path, pretrained, 12.0, [1, 6, 7, 8], E0s="foundation")
    message = refused(capfd, tmp_path / "run", files, **options)
    assert message.startswith("--E0s=foundation: ") and "--E0s=estimated" in message
    train(tmp_path / "estimated", files, **options | {"E0s": "estimated"})
    assert "before the first step" not in log(tmp_path / "estimated")


@pytest.mark.parametrize("E0s", ["average", "isolated atoms", "isolated atoms given"])
def test_a_new_model_begins_right_or_with_the_cohesive_energy(E0s, tmp_path):
    files, options = write_files(tmp_path, "ethanol_gfn2", 6, 3), {}
    if E0s != "isolated atoms":
        ase.io.write(files["train_file"], frames("ethanol_gfn2_train", 6))
        atoms = isolated_atoms("ethanol_gfn2_train")
        known = {int(one.numbers[0]): float(one.info["REF_energy"]) for one in atoms}
        options["E0s"] = "average" if E0s == "average" else str(known)
    train(tmp_path / "run", files, **options, **OFF)
    assert "before the first step" not in log(tmp_path / "run")


def test_a_new_model_with_E0s_of_another_method(tmp_path, capfd):
    files = write_files(tmp_path, "ethanol_gfn2", 6, 3)
    ase.io.write(files["train_file"], frames("ethanol_gfn2_train", 6))
    options = {"E0s": "{1: -13.6, 6: -1030.0, 8: -2040.0}"}
    message = refused(capfd, tmp_path / "run", files, **options)
    assert message.startswith("--E0s={1: -13.6, 6: -1030.0, 8: -2040.0}: before the first step")
    assert "--E0s=average" in message


def test_energies_per_atom(tmp_path, capfd):
    molecules = [molecule(name) for name in ("CH4", "C2H6", "C2H4", "H2O", "CO2", "CH3OH")]
    for atoms in molecules:
        energies = [{1: -13.6, 6: -1030.0, 8: -2040.0}[z] for z in atoms.numbers]
        atoms.info["REF_energy"] = np.mean(energies)
        atoms.arrays["REF_forces"] = np.random.default_rng(0).normal(size=(len(atoms), 3))
    files = {name: tmp_path / f"{name}.xyz" for name in ("train_file", "valid_file")}
    for file in files.values():
        ase.io.write(file, molecules)
    message = refused(capfd, tmp_path / "run", files, E0s="average")
    assert message.startswith("--E0s=average: before the first step")
    assert "not per atom" in message


def test_average_E0s_where_some_frames_have_no_energy(tmp_path, capfd):
    files = write_files(tmp_path, "ethanol_gfn2", 6, 3)
    structures = frames("ethanol_gfn2_train", 6)
    ase.io.write(files["train_file"], [*without(structures[:2], "REF_energy"), *structures[2:]])
    message = refused(capfd, tmp_path / "run", files, E0s="average")
    assert message.startswith("--E0s=average: ")
    assert "2 of 6 have no energy" in message
    E0s = message.split('--E0s="')[1].split('"')[0]
    energy = sum(ast.literal_eval(E0s)[z] for z in structures[2].numbers)
    labels = [atoms.info["REF_energy"] for atoms in structures[2:]]
    assert energy == pytest.approx(np.mean(labels), abs=1e-4)
    train(tmp_path / "run", files, E0s=E0s, **OFF)
    assert "RMSE_E_per_atom=     nan" not in log(tmp_path / "run")


def test_average_E0s_of_an_element_in_the_validation_data_alone(tmp_path, capfd):
    """MACE 0.3.16 gives it 0 eV, and the validation loss is that error alone."""
    molecules = [molecule(name) for name in ("CH4", "C2H6", "C2H4", "CH3Cl")]
    for number, atoms in enumerate(molecules):
        energies = [{1: -0.5, 6: -1.0, 17: -2.0}[z] for z in atoms.numbers]
        atoms.info["REF_energy"] = sum(energies) + 0.01 * number
        atoms.arrays["REF_forces"] = np.random.default_rng(0).normal(size=(len(atoms), 3))
    files = {"train_file": tmp_path / "train.xyz", "valid_file": tmp_path / "valid.xyz"}
    options = {"E0s": "average", "batch_size": 2, **OFF}
    ase.io.write(files["train_file"], molecules[:3])
    ase.io.write(files["valid_file"], molecules[2:])
    message = refused(capfd, tmp_path / "run", files, **options)
    assert message.startswith(
        "--E0s=average: no training frame has Cl, but the validation data has"
    )
    ase.io.write(files["train_file"], molecules)
    model = train(tmp_path / "whole", files, **options)
    assert model.atomic_energies_fn.atomic_energies.flatten()[2] == pytest.approx(-2.0, abs=0.1)


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ({"scaling": "std_scaling"}, {"scaling": "rms_forces_scaling"}),
        ({"model": "ScaleShiftMACE"}, {"model": "MACE"}),
    ],
    ids=["std_scaling", "ScaleShiftMACE"],
)
def test_scales_and_shifts_where_some_frames_have_no_energy(given, remedy, tmp_path, capfd):
    """MACE 0.3.16 counts 0 eV for them, and its scale is tens of eV instead of some meV."""
    files = write_files(tmp_path, "ethanol_gfn2", 6, 3)
    structures = frames("ethanol_gfn2_train", 6)
    E0s = {"E0s": "{1: -13.0, 6: -50.0, 8: -109.0}", "batch_size": 2}
    train(tmp_path / "whole", files, **given, **E0s, dry_run=True)
    ase.io.write(files["train_file"], [*without(structures[:2], "REF_energy"), *structures[2:]])
    message = refused(capfd, tmp_path / "run", files, **given, **E0s)
    assert "2 of 6 have none, which count as 0 eV" in message
    ((option, value),) = remedy.items()
    assert message.endswith(f"choose --{option}={value}\n")
    model = train(tmp_path / "remedy", files, **remedy, **E0s, **OFF)
    assert model.scale_shift.scale.item() == pytest.approx(rms_forces(structures), rel=1e-6)
    assert model.scale_shift.shift.item() == 0.0


def rms_forces(structures):
    return np.sqrt(np.mean(np.concatenate([a.arrays["REF_forces"] for a in structures]) ** 2))


def without(structures, *names):
    for atoms in structures:
        for name in names:
            atoms.info.pop(name, None), atoms.arrays.pop(name, None)
    return structures


@pytest.mark.parametrize("case", ["other keys", "energies asked of forces"])
def test_a_validation_set_that_measures_nothing(case, tmp_path, files, capfd):
    structures = frames("ethanol_gfn2_valid", 3)
    options = {"loss": "piwsl", **OFF}
    if case == "other keys":
        for atoms in structures:
            atoms.info["dft_energy"] = atoms.info["REF_energy"]
            atoms.info["mu"] = np.zeros(3)  # MACE asks for any label
        options["dipole_key"] = "mu"
        structures = without(structures, "REF_energy", "REF_forces")
        keys = "--energy_key=REF_energy, --forces_key=REF_forces"
    else:
        structures = without(structures, "REF_energy")
        options["piwsl_base_loss"], keys = "energy", "--energy_key=REF_energy"
    ase.io.write(files["valid_file"], structures)
    message = refused(capfd, tmp_path / "run", files, **options)
    assert message.startswith(f"--valid_file={files['valid_file']}: no structure")
    assert f"({keys})" in message
    structures[2].info["REF_energy"] = -100.0
    ase.io.write(files["valid_file"], structures)
    train(tmp_path / "one", files, **options, dry_run=True)


@pytest.mark.parametrize("weight", [0, None])
def test_a_pool_under_other_keys(weight, tmp_path, files, capfd):
    structures = frames("ethanol_gfn2_test", 3)
    for atoms in structures:
        atoms.info["dft_energy"] = atoms.info.pop("REF_energy")
        atoms.arrays["dft_forces"] = atoms.arrays.pop("REF_forces")
    path = tmp_path / "pool.xyz"
    ase.io.write(path, structures)
    options = {"piwsl_pool_file": path, "piwsl_pool_weight": weight, "dry_run": True}
    if weight == 0:
        return train(tmp_path / "run", files, **options)
    message = refused(capfd, tmp_path / "run", files, **options)
    assert message.startswith(f"--piwsl_pool_file={path}: no frame has a label that the base loss")
    assert "'dft_energy', 'dft_forces'" in message and "--energy_key=REF_energy" in message


def test_a_pool_without_labels_is_for_terms(tmp_path, files, capfd):
    path = tmp_path / "pool.xyz"
    ase.io.write(path, [bare(atoms) for atoms in frames("ethanol_gfn2_test", 3)])
    message = refused(capfd, tmp_path / "run", files, piwsl_pool_file=path, piwsl_pitc_weight=0)
    assert "no frame has a label" in message and "--piwsl_pitc_weight" in message
    train(tmp_path / "terms", files, piwsl_pool_file=path, dry_run=True)
