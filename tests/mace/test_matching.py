"""Hessian labels reach the structures that they are of: method, charge and spin, cell, images."""

import dataclasses

import ase.io
import numpy as np
import pytest

from piwsl_plugins.labels.hessian_labels import write_labels
from piwsl_plugins.labels.hessian_lookup import HessianLabels
from piwsl_plugins.mace.host import MACEHost
from piwsl_plugins.testing.hessians import springs

from .conftest import atomic_data, batch_of, frames, make_model, train
from .test_trainer import entries, log

ELEMENTS = {"E0s": "{1: -10.0, 6: -50.0, 8: -100.0}"}
#: a head's heads and a charge in the model, as --embedding_specs has them
EMBEDDED = {
    name: {"type": "categorical", "per": "graph", "num_classes": 10, "emb_dim": 2, "offset": 4}
    for name in ("total_charge", "total_spin")
}


def refused(capfd, folder, files, **options):
    with pytest.raises(SystemExit) as ended:
        train(folder, files, **options)
    assert ended.value.code == 2
    message = capfd.readouterr().err.split("mace_run_train: error: ")[1]
    assert message.count("\n") == 1
    return message


def cations(structures, charge="total_charge", spin="total_spin"):
    copies = [atoms.copy() for atoms in structures]
    for atoms in copies:
        atoms.info |= {charge: 1, spin: 2}
    return copies


def written(folder, training, labelled, **state):
    """Options that name a training file and Hessian labels."""
    ase.io.write(folder / "train.xyz", training)
    ase.io.write(folder / "valid.xyz", frames("ethanol_gfn2_valid", 2))
    labels = [dataclasses.replace(springs(atoms), **state) for atoms in labelled]
    write_labels(folder / "labels.npz", labels, "springs")
    files = {"train_file": folder / "train.xyz", "valid_file": folder / "valid.xyz"}
    return files, {"piwsl_hessian_file": folder / "labels.npz", "dry_run": True, **ELEMENTS}


def test_neutral_hessians_train_no_cations(tmp_path):
    """... in a model that knows charges, by the names that MACE gives them."""
    molecules = frames("ethanol_gfn2_train", 4)
    files, options = written(tmp_path, [*molecules, *cations(molecules)], molecules[:3])
    options |= {"dry_run": None, "max_num_epochs": 1, "embedding_specs": EMBEDDED}
    train(tmp_path / "run", files, **options)
    assert "for 3 of 8 training structures; all 3 labels are used" in log(tmp_path / "run")
    assert np.isfinite(entries(tmp_path / "run", "piwsl")[0]["hessian_rms"])


def test_a_batch_is_looked_up_by_charge_and_spin():
    neutral, other = frames("ethanol_gfn2_train", 2)
    triplet = neutral.copy()
    triplet.info["total_spin"] = 3
    structures = [neutral, *cations([neutral]), triplet, *cations([other]), other]
    batch = batch_of([atomic_data(atoms) for atoms in structures]).to_dict()
    described = MACEHost(make_model()).describe(batch)
    assert described.charges.tolist() == [0.0, 1.0, 0.0, 1.0, 0.0]
    labels = [springs(neutral), dataclasses.replace(springs(other), charge=1.0)]
    assert HessianLabels(labels).numbers_of(described) == [0, -1, -1, 1, -1]


@pytest.mark.parametrize("labelled", [0, 1])
def test_charges_under_names_that_mace_does_not_read(labelled, tmp_path, capfd):
    """... make cations of neutral labels, and neutral structures of those of cations."""
    molecules = frames("ethanol_gfn2_train", 4)
    training = cations(molecules, "charge", "spin")
    state = {"charge": 1.0, "spin": 2.0} if labelled else {}
    files, options = written(tmp_path, training, molecules, **state)
    message = refused(capfd, tmp_path / "run", files, **options)
    assert "train.xyz: frame 0 (from 0) has charge=1, but MACE reads 'total_charge'" in message
    assert "--total_charge_key=charge" in message
    if not labelled:
        return
    options |= {"total_charge_key": "charge", "total_spin_key": "spin"}
    train(tmp_path / "named", files, **options)
    assert "for 4 of 4 training structures; all 4 labels are used" in log(tmp_path / "named")
    mixed = [molecules[0], *training[1:]]
    ase.io.write(files["train_file"], mixed)
    _, labelled = written(tmp_path, mixed, molecules[:1])
    options |= labelled
    write_labels(
        tmp_path / "labels.npz",
        [springs(molecules[0]), dataclasses.replace(springs(molecules[1]), charge=-1.0)],
        "springs",
    )
    train(tmp_path / "mixed", files, **options)
    text = log(tmp_path / "mixed")
    assert "1 label has the geometry of a training frame, and another charge (-1, and 1)" in text
    assert "--total_charge_key" in text


def changed(atoms, what):
    copy = atoms.copy()
    if what == "cell":
        copy.set_cell(copy.cell.array + 0.05 * np.eye(3))
    elif what == "pbc":
        copy.pbc = [True, True, False]
    else:
        copy.positions[0] += copy.cell[1] - copy.cell[2]
    return copy


@pytest.mark.parametrize(
    ("what", "used", "words"),
    [
        ("cell", 1, "2 labels have the geometry of a training frame, and another cell"),
        ("pbc", 1, "2 labels have the geometry of a training frame, and other periodic directions"),
        ("image", 3, "all 3 labels are used"),
    ],
)
def test_periodic_structures(what, used, words, tmp_path):
    crystals = frames("periodic_gfn2_train", 4)
    training = [crystals[0], *(changed(atoms, what) for atoms in crystals[1:])]
    files, options = written(tmp_path, training, crystals[:3])
    train(tmp_path / "run", files, **options, batch_size=1)
    text = log(tmp_path / "run")
    assert f"for {used} of 4 training structures" in text
    assert words in text


@pytest.fixture
def two_methods(tmp_path):
    """The same geometries by two methods, in two heads, and Hessians of one of them."""
    heads = {}
    for name, shift in (("GFN1", 0.0), ("GFN2", -1.0)):
        heads[name] = dict(ELEMENTS)
        for option, part, n in (("train_file", "train", 4), ("valid_file", "valid", 2)):
            structures = frames(f"ethanol_gfn2_{part}", n)
            for atoms in structures:
                atoms.info["REF_energy"] += shift
            heads[name][option] = str(tmp_path / f"{name}_{part}.xyz")
            ase.io.write(heads[name][option], structures)
    for part, n in (("train", 3), ("valid", 2)):
        labels = list(map(springs, frames(f"ethanol_gfn2_{part}", n)))
        write_labels(tmp_path / f"{part}.npz", labels, "springs")
    return heads


def test_of_several_heads_the_run_asks_which(tmp_path, two_methods, capfd):
    for option, part in (("hessian_file", "train"), ("hessian_valid_file", "valid")):
        given = {f"piwsl_{option}": tmp_path / f"{part}.npz"}
        message = refused(capfd, tmp_path / option, {}, heads=two_methods, **given)
        assert message.startswith(f"--piwsl_{option}={tmp_path / f'{part}.npz'}: ")
        assert "GFN1, GFN2" in message and "--piwsl_heads" in message
    # nothing is asked where they have no weight
    options = {"piwsl_hessian_file": tmp_path / "train.npz", "piwsl_hessian_weight": 0}
    train(tmp_path / "off", {}, heads=two_methods, dry_run=True, **options)


def test_hessians_of_one_head_train_it_alone(tmp_path, two_methods):
    """The loss of a step has those of its structures, and the log says what the others have."""
    options = {
        "piwsl_hessian_file": tmp_path / "train.npz",
        "piwsl_hessian_valid_file": tmp_path / "valid.npz",
        "piwsl_heads": "GFN2",
    }
    train(tmp_path / "run", {}, heads=two_methods, max_num_epochs=1, **options)
    text = log(tmp_path / "run")
    assert "Hessian labels for 3 of 4 training structures; all 3 labels are used" in text
    assert "Hessian labels for 2 of 2 validation structures; all 2 labels are used" in text
    two_methods["GFN2"]["train_file"], two_methods["GFN1"]["train_file"] = (
        str(tmp_path / "few.xyz"),
        two_methods["GFN2"]["train_file"],
    )
    ase.io.write(tmp_path / "few.xyz", frames("ethanol_gfn2_train", 2))
    options.pop("piwsl_hessian_valid_file")
    train(tmp_path / "few", {}, heads=two_methods, dry_run=True, **options)
    assert (
        "for 2 of 2 training structures; 2 of 3 labels are used, 1 belong to none of them; 1 label "
        "has the geometry of a training frame, and another level of theory (GFN1)"
    ) in log(tmp_path / "few")


@pytest.mark.parametrize("shared", [False, True])
def test_a_pool_of_cations_at_the_geometries_of_validation_frames(shared, tmp_path, files, capfd):
    held_out = frames("ethanol_gfn2_valid", 2)
    pool = [held_out[0], *cations(held_out)] if shared else cations(held_out)
    ase.io.write(tmp_path / "pool.xyz", pool)
    options = {"piwsl_pool_file": tmp_path / "pool.xyz", "dry_run": True}
    if shared:
        message = refused(capfd, tmp_path / "run", files, **options)
        assert "frame 0 (from 0) is frame 0 (from 0) of the validation data" in message
    else:
        train(tmp_path / "run", files, **options)
        assert "pool of 2 structures, 2 with labels" in log(tmp_path / "run")


def test_a_charge_that_is_no_number(tmp_path, capfd):
    molecules = frames("ethanol_gfn2_train", 4)
    molecules[2].info["total_charge"] = np.nan
    files, options = written(tmp_path, molecules, molecules[:2])
    message = refused(capfd, tmp_path / "run", files, **options)
    assert message.strip() == "frame 2 (from 0) of the training data: 'total_charge' is not finite"
