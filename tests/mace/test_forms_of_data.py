"""The checks see every form in which MACE takes data: leaks of a pool, bad frames, labels."""

import ase.db
import ase.io
import h5py
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from mace import data
from mace.tools.fairchem_dataset.lmdb_dataset_tools import LMDBDatabase

from piwsl_plugins.labels.hessian_labels import write_labels
from piwsl_plugins.testing.hessians import springs

from .conftest import frames, train
from .test_trainer import log

KEYS = data.KeySpecification.from_defaults()
ELEMENTS = {"E0s": "{1: -10.0, 6: -50.0, 8: -100.0}", "atomic_numbers": "[1, 6, 8]"}


def with_calculator(atoms):
    """Labels where ASE's own formats keep them."""
    bare = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    labels = {"energy": atoms.info["REF_energy"], "forces": atoms.arrays["REF_forces"]}
    bare.calc = SinglePointCalculator(bare, **labels)
    return bare


def xyz(stem, structures):
    ase.io.write(f"{stem}.xyz", structures)
    return f"{stem}.xyz"


def selected(stem, structures):
    return f"{xyz(stem, structures)}@:"


def database(stem, structures):
    with ase.db.connect(f"{stem}.db") as made:
        for atoms in structures:
            made.write(with_calculator(atoms))
    return f"{stem}.db"


def h5(stem, structures, ending="h5"):
    configs = [data.config_from_atoms(atoms, key_specification=KEYS) for atoms in structures]
    with h5py.File(f"{stem}.{ending}", "w") as file:
        data.save_configurations_as_HDF5(configs, 0, file)
    return f"{stem}.{ending}"


def lmdb(stem, structures):
    made = LMDBDatabase(f"{stem}.aselmdb", readonly=False)
    for atoms in structures:
        made.write(with_calculator(atoms), data={})
    made.close()
    return f"{stem}.aselmdb"


def folder_of(write):
    def written(stem, structures):
        stem.mkdir()
        write(stem / "a", structures[:2]), write(stem / "b", structures[2:])
        return str(stem)

    return written


def several(*writers):
    def written(stem, structures):
        parts = (structures[:2], structures[2:])
        each = zip("ab", writers, parts, strict=True)
        return [write(stem.with_name(stem.name + name), part) for name, write, part in each]

    return written


def joined(stem, structures):
    return ":".join(several(lmdb, lmdb)(stem, structures))


#: how four structures are written, by form
FORMS = {
    "file": xyz,
    "selection of a file": selected,
    "list": several(xyz, xyz),
    "database": database,
    "HDF5": h5,
    "folder of HDF5": folder_of(h5),
    "LMDB": lmdb,
    "folder of LMDB": folder_of(lmdb),
    "joined LMDB": joined,
    "list of HDF5 and LMDB": several(h5, lmdb),
    "list of a file and LMDB": several(xyz, lmdb),
}
TRAINED, HELD_OUT = frames("ethanol_gfn2_train", 4), frames("ethanol_gfn2_valid", 4)


def run(tmp_path, files, **options):
    """As far as the first step, with the data in a head of its own, which may have lists."""
    if any(str(value).endswith(".db") for value in files.values()):
        options |= {"energy_key": "energy", "forces_key": "forces"}
    heads = {"Default": files | {"E0s": ELEMENTS["E0s"]}}
    options |= ELEMENTS | {"batch_size": 2, "dry_run": True}
    train(tmp_path / "run", {}, heads=heads, **options)


def refused(capfd, *arguments, **options):
    with pytest.raises(SystemExit) as ended:
        run(*arguments, **options)
    assert ended.value.code == 2
    message = capfd.readouterr().err.split("mace_run_train: error: ")[1]
    assert message.count("\n") == 1
    return message


def training_beside(form, tmp_path):
    """A training file that is read with the same keys."""
    return (database if form == "database" else xyz)(tmp_path / "train", TRAINED)


@pytest.mark.parametrize("form", FORMS)
def test_labels_are_counted_and_training_structures_found_in_a_pool(form, tmp_path):
    files = {
        "train_file": FORMS[form](tmp_path / "train", TRAINED),
        "valid_file": FORMS[form](tmp_path / "valid", HELD_OUT),
    }
    write_labels(tmp_path / "train.npz", list(map(springs, TRAINED[1:])), "springs")
    write_labels(tmp_path / "valid.npz", list(map(springs, HELD_OUT[:2])), "springs")
    pool = xyz(tmp_path / "pool", [TRAINED[3], *frames("ethanol_gfn2_test", 2)])
    run(
        tmp_path,
        files,
        piwsl_hessian_file=tmp_path / "train.npz",
        piwsl_hessian_valid_file=tmp_path / "valid.npz",
        piwsl_pool_file=pool,
        piwsl_pool_weight=0,
    )
    text = log(tmp_path / "run")
    assert "Hessian labels for 3 of 4 training structures, and for 1 of 3 of the pool" in text
    assert "all 3 labels are used" in text
    assert "Hessian labels for 2 of 4 validation structures; all 2 labels are used" in text
    assert "pool of 3 structures" in text and "1 of them are in the training data too" in text


@pytest.mark.parametrize("form", FORMS)
def test_a_pool_with_a_validation_structure(form, tmp_path, capfd):
    files = {"train_file": training_beside(form, tmp_path)}
    files["valid_file"] = FORMS[form](tmp_path / "valid", HELD_OUT)
    pool = xyz(tmp_path / "pool", [*frames("ethanol_gfn2_test", 2), HELD_OUT[3]])
    message = refused(capfd, tmp_path, files, piwsl_pool_file=pool, piwsl_pool_weight=0)
    assert message.startswith(f"--piwsl_pool_file={pool}: frame 2 (from 0) is frame ")
    assert "errors on such data mean nothing" in message


@pytest.mark.parametrize("form", FORMS)
def test_a_bad_frame(form, tmp_path, capfd):
    structures = [atoms.copy() for atoms in HELD_OUT]
    structures[3].arrays["REF_forces"][0] = np.nan
    files = {"train_file": training_beside(form, tmp_path)}
    files["valid_file"] = FORMS[form](tmp_path / "valid", structures)
    message = refused(capfd, tmp_path, files)
    assert message.startswith(str(tmp_path / "valid"))
    assert "frame " in message and "'forces' is not finite" in message


@pytest.mark.parametrize("form", ["test_file", "test_dir"])
def test_a_pool_with_a_test_structure(form, tmp_path, capfd):
    files = {"train_file": xyz(tmp_path / "train", TRAINED)}
    files["valid_file"] = xyz(tmp_path / "valid", HELD_OUT[:2])
    (tmp_path / "tests").mkdir()
    written = h5 if form == "test_dir" else xyz
    path = written(tmp_path / "tests" / "some_test", HELD_OUT[2:])
    files[form] = path if form == "test_file" else str(tmp_path / "tests")
    pool = xyz(tmp_path / "pool", HELD_OUT[3:])
    message = refused(capfd, tmp_path, files, piwsl_pool_file=pool, piwsl_pool_weight=0)
    assert "frame 0 (from 0) is frame 1 (from 0) of " in message


def test_a_pool_with_a_structure_that_was_split_off_for_validation(tmp_path, capfd):
    files = {"train_file": xyz(tmp_path / "train", TRAINED), "valid_fraction": 0.5}
    pool = xyz(tmp_path / "pool", TRAINED)
    message = refused(capfd, tmp_path, files, piwsl_pool_file=pool, piwsl_pool_weight=0)
    assert "of the validation data; remove it from the pool" in message


@pytest.mark.parametrize("form", ["file", "HDF5", "folder of HDF5", "LMDB", "folder of LMDB"])
def test_a_pool_in_every_form(form, tmp_path):
    """... of which one structure is a training structure, with its label."""
    files = {"train_file": xyz(tmp_path / "train", TRAINED)}
    files["valid_file"] = xyz(tmp_path / "valid", HELD_OUT)
    structures = [TRAINED[0], *frames("ethanol_gfn2_test", 3)]
    run(tmp_path, files, piwsl_pool_file=FORMS[form](tmp_path / "pool", structures))
    text = log(tmp_path / "run")
    assert "pool of 4 structures, 4 with labels; 1 of them are in the training data too" in text


@pytest.mark.parametrize(("form", "shared"), [("LMDB", 4), ("joined LMDB", 2)])
def test_a_pool_that_is_a_training_file(form, shared, tmp_path):
    """py-lmdb opens a file only once in a process."""
    files = {"train_file": FORMS[form](tmp_path / "train", TRAINED)}
    files["valid_file"] = lmdb(tmp_path / "valid", HELD_OUT)
    pool = files["train_file"].split(":")[-1]
    run(tmp_path, files, piwsl_pool_file=pool)
    text = log(tmp_path / "run")
    assert f"pool of {shared} structures, {shared} with labels; {shared} of them are in" in text


def test_joined_files_of_which_one_is_missing(tmp_path, capfd):
    files = {"train_file": f"{lmdb(tmp_path / 'train', TRAINED)}:{tmp_path / 'none.aselmdb'}"}
    files["valid_file"] = xyz(tmp_path / "valid", HELD_OUT)
    message = refused(capfd, tmp_path, files)
    assert message.strip() == f"{files['train_file']}: there is no {tmp_path / 'none.aselmdb'}"
