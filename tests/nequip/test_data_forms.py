"""Every form in which NequIP takes data is seen by every check."""

from __future__ import annotations

import pickle
import types

import ase.io
import h5py
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from hydra.utils import instantiate
from nequip.data import from_ase
from nequip.data.dataset import NequIPLMDBDataset
from nequip.train import NequIPLightningModule

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.labels.hessian_labels import write_labels
from piwsl_plugins.nequip import PIWSLLoss
from piwsl_plugins.nequip.config import DataError
from piwsl_plugins.nequip.data import datasets_of
from piwsl_plugins.nequip.frames import left_closed
from piwsl_plugins.nequip.preparation import prepare
from piwsl_plugins.testing.hessians import springs

from .conftest import DATA, MODELS, TYPE_NAMES, global_state
from .reference import KEYS

T = "nequip.data.transforms."
TRANSFORMS = [
    {"_target_": f"{T}ChemicalSpeciesToAtomTypeMapper", "model_type_names": TYPE_NAMES},
    {"_target_": f"{T}NeighborListTransform", "r_max": 3.0},
]
SPLITS = ("train", "val", "test")


def file_dataset(path, frames, **keywords):
    """A file that ASE reads."""
    ase.io.write(path, frames)
    return {
        "_target_": "nequip.data.dataset.ASEDataset",
        "file_path": path,
        "transforms": TRANSFORMS,
        "key_mapping": KEYS,
        **keywords,
    }


def with_arguments(path, frames):
    """A file whose format ASE cannot guess, and of which the first frame is left out."""
    ase.io.write(path, [frames[-1], *frames], format="extxyz")
    dataset = file_dataset("other.xyz", frames, ase_args={"format": "extxyz"})
    return {**dataset, "file_path": f"{path}@1:"}


def hdf5_dataset(path, frames):
    half = len(frames) // 2
    paths = [f"1{path}", f"2{path}"]
    for name, part in zip(paths, (frames[:half], frames[half:]), strict=True):
        with h5py.File(name, "w") as file:
            group = file.create_group("ethanol")
            group["pos"] = np.stack([atoms.positions for atoms in part])
            group["atomic_numbers"] = np.stack([atoms.numbers for atoms in part])
            group["energy"] = np.array([atoms.info["REF_energy"] for atoms in part])
            group["forces"] = np.stack([atoms.arrays["REF_forces"] for atoms in part])
    return {
        "_target_": "nequip.data.dataset.HDF5Dataset",
        "file_name": ";".join(paths),
        "transforms": TRANSFORMS,
    }


def npz_dataset(path, frames):
    np.savez(
        path,
        R=np.stack([atoms.positions for atoms in frames]),
        z=frames[0].numbers,
        E=np.array([atoms.info["REF_energy"] for atoms in frames]),
        F=np.stack([atoms.arrays["REF_forces"] for atoms in frames]),
    )
    return {
        "_target_": "nequip.data.dataset.NPZDataset",
        "file_path": path,
        "transforms": TRANSFORMS,
    }


def lmdb_dataset(path, frames):
    made = [from_ase(atoms, key_mapping=KEYS) for atoms in frames]
    NequIPLMDBDataset.save_from_iterator(path, made, map_size=2**24)
    return {
        "_target_": "nequip.data.dataset.NequIPLMDBDataset",
        "file_path": path,
        "transforms": TRANSFORMS,
    }


def calculated(frames):
    """Frames whose labels are those of a calculator."""
    bare = [ase.Atoms(atoms.symbols, atoms.positions) for atoms in frames]
    for one, atoms in zip(bare, frames, strict=True):
        energy, forces = atoms.info["REF_energy"], atoms.arrays["REF_forces"]
        one.calc = SinglePointCalculator(one, energy=energy, forces=forces)
    return bare


def trajectory(path, frames):
    return file_dataset(path, calculated(frames), key_mapping={})


def database(path, frames):
    with connect(path) as rows:
        for atoms in calculated(frames):
            rows.write(atoms)
    return {
        "_target_": "nequip.data.dataset.ASEDataset",
        "file_path": path,
        "transforms": TRANSFORMS,
    }


def of_datasets(made):
    return {
        "_target_": "nequip.data.datamodule.NequIPDataModule",
        **{f"{split}_dataset": dataset for split, dataset in made.items()},
    }


def each(write, ending):
    """One data set of a kind for each split."""

    def build(frames):
        return of_datasets({split: write(f"{split}{ending}", frames[split]) for split in SPLITS})

    return build


def files(frames):
    made = {split: file_dataset(f"{split}.xyz", frames[split])["file_path"] for split in SPLITS}
    return {
        "_target_": "nequip.data.datamodule.ASEDataModule",
        "transforms": TRANSFORMS,
        "key_mapping": KEYS,
        **{f"{split}_file_path": path for split, path in made.items()},
    }


def several(frames):
    """Lists of files: two sets for validation and for tests."""
    made = files(frames)
    for split in ("val", "test"):
        halves = {f"{split}{i}.xyz": [atoms] for i, atoms in enumerate(frames[split])}
        made[f"{split}_file_path"] = list(halves)
        for path, part in halves.items():
            ase.io.write(path, part)
    return made


def concatenated(frames):
    made = {}
    for split in SPLITS:
        parts = [file_dataset(f"{split}{i}.xyz", frames[split][i::2]) for i in range(2)]
        made[split] = {"_target_": "torch.utils.data.ConcatDataset", "datasets": parts}
    return of_datasets(made)


def sliced(frames):
    return of_datasets(
        {
            split: {
                "_target_": "nequip.data.dataset.SubsetByRandomSlice",
                "dataset": file_dataset(f"{split}.xyz", frames[split]),
                "start": 0,
                "length": len(frames[split]),
                "seed": 3,
            }
            for split in SPLITS
        }
    )


def split_file(frames):
    """All frames in one file, which NequIP splits at random."""
    file_dataset("all.xyz", [atoms for split in SPLITS for atoms in frames[split]])
    sizes = {split: len(frames[split]) for split in SPLITS}
    return {
        "_target_": "nequip.data.datamodule.ASEDataModule",
        "transforms": TRANSFORMS,
        "key_mapping": KEYS,
        "split_dataset": {"file_path": "all.xyz", **sizes},
    }


FORMS = {
    "a file": files,
    "lists of files": several,
    "arguments of ASE": each(with_arguments, ".data"),
    "a database": each(database, ".db"),
    "a trajectory": each(trajectory, ".traj"),
    "concatenated": concatenated,
    "a random slice": sliced,
    "a random split": split_file,
    "HDF5": each(hdf5_dataset, ".h5"),
    "LMDB": each(lmdb_dataset, ".lmdb"),
    "NPZ": each(npz_dataset, ".npz"),
}


def all_frames():
    train = ase.io.read(DATA / "ethanol_gfn2_train.xyz", "3:7")
    valid = ase.io.read(DATA / "ethanol_gfn2_valid.xyz", ":2")
    return {"train": train, "val": valid, "test": ase.io.read(DATA / "ethanol_gfn2_test.xyz", ":2")}


@pytest.fixture(scope="module")
def module():
    """A training module whose loss is given later."""
    with global_state():
        return training_module_of(MODELS["nequip"])


def training_module_of(model):
    return NequIPLightningModule(
        model=model,
        num_datasets={"train": 1, "val": 2, "test": 2, "predict": 0},
        optimizer={"_target_": "torch.optim.SGD", "lr": 1.0},
        loss={"_target_": "nequip.train.EnergyForceLoss"},
        val_metrics={"_target_": "nequip.train.EnergyForceMetrics"},
        test_metrics={"_target_": "nequip.train.EnergyForceMetrics"},
    )


def prepared(module, data, datamodule=None, **options):
    """What a training finds before its first step."""
    if datamodule is None:
        datamodule = instantiate({**data, "seed": 1}, _recursive_=False)
        datamodule.setup("fit")
    trainer = types.SimpleNamespace(
        datamodule=datamodule, limit_val_batches=1.0, global_rank=0, world_size=1
    )
    loss = PIWSLLoss(type_names=TYPE_NAMES, **options)
    return prepare(trainer, module, loss, datasets_of(datamodule), 0)


def last_of(data, split):
    """The last frame of the last set of a split, and its number in its file, as NequIP has it."""
    datamodule = instantiate({**data, "seed": 1}, _recursive_=False)
    datamodule.setup("fit")
    _, dataset = datasets_of(datamodule)[split][-1]
    with left_closed(dataset):
        positions = dataset[len(dataset) - 1]["pos"].numpy()
    (found,) = (
        atoms
        for frames in all_frames().values()
        for atoms in frames
        if np.abs(atoms.positions - positions).max() < 1e-5
    )
    return found


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("form", FORMS)
def test_a_pool_with_held_out_frames(form, split, module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = FORMS[form](all_frames())
    hot = ase.io.read(DATA / "ethanol_gfn2_hot.xyz", 0)
    ase.io.write("pool.xyz", [hot, last_of(data, split)])
    with pytest.raises(SettingsError) as caught:
        prepared(module, data, pool_file="pool.xyz")
    assert caught.value.name == "pool_file"
    assert caught.value.remedy.startswith("frame 1 (from 0) is frame ")
    assert f"(from 0) of the {split} data '" in caught.value.remedy
    ase.io.write("pool.xyz", [hot, all_frames()["train"][0]])
    if form != "a random split":  # of which nobody knows where that frame is
        assert len(prepared(module, data, pool_file="pool.xyz").pool.dataset) == 2


@pytest.mark.parametrize("form", FORMS)
def test_a_frame_that_cannot_be_right(form, module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frames = all_frames()
    frames["train"][2].positions[4] = frames["train"][2].positions[7]
    with pytest.raises(DataError) as caught:
        prepared(module, FORMS[form](frames))
    number = 1 if form == "concatenated" else 2
    assert f"', frame {number} (from 0): atoms 4 and 7 are at the same place" in str(caught.value)


@pytest.mark.parametrize("form", FORMS)
def test_labels_that_are_found(form, module, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    data = FORMS[form](all_frames())
    labelled = [last_of(data, "train"), last_of(data, "val")]
    write_labels("labels.npz", list(map(springs, labelled)), "springs")
    options = {"hessian_file": "labels.npz", "hessian_valid_file": "labels.npz"}
    with caplog.at_level("INFO"):
        found = prepared(module, data, **options)
    assert len(found.labels) == len(found.valid_labels) == 2
    used = "1 of 2 labels are used, 1 belong to none of them"
    assert f"Hessian labels for 1 of 4 training structures; {used}" in caplog.text
    assert f"Hessian labels for 1 of 2 validation structures; {used}" in caplog.text


@pytest.mark.parametrize("form", ["HDF5", "LMDB", "NPZ", "a file"])
def test_files_can_be_handed_to_workers_that_are_spawned(form, module, tmp_path, monkeypatch):
    """What is handed to them is pickled; the data, and a pool of every kind."""
    monkeypatch.chdir(tmp_path)
    data = FORMS[form](all_frames())
    pool = POOLS[form](ase.io.read(DATA / "ethanol_gfn2_hot.xyz", ":4"))
    datamodule = instantiate({**data, "seed": 1}, _recursive_=False)
    datamodule.setup("fit")
    found = prepared(module, data, datamodule, pool_file=pool)
    wanted = {
        datamodule.train_dataset[0]: all_frames()["train"][1],
        datamodule.val_dataset[0]: all_frames()["val"][1],
        found.pool.dataset: ase.io.read(DATA / "ethanol_gfn2_hot.xyz", 1),
    }
    for dataset, atoms in wanted.items():
        frame = pickle.loads(pickle.dumps(dataset))[1]
        np.testing.assert_allclose(frame["forces"], atoms.arrays["REF_forces"], atol=1e-9)


def only_some(frames):
    ase.io.write("pool.xyz", [frames[0], *frames, frames[0]])
    return "pool.xyz@1:5"


#: a pool of each kind, some frames of a file among them
POOLS = {
    "HDF5": lambda frames: hdf5_dataset("pool.h5", frames)["file_name"].split(";")[0],
    "LMDB": lambda frames: lmdb_dataset("pool.lmdb", frames)["file_path"],
    "NPZ": lambda frames: npz_dataset("pool.npz", frames)["file_path"],
    "a file": only_some,
}
SIZES = {"HDF5": 2, "LMDB": 4, "NPZ": 4, "a file": 4}


@pytest.mark.parametrize("data", ["HDF5", "a file"])
@pytest.mark.parametrize("form", POOLS)
def test_a_pool_of_each_kind(form, data, module, tmp_path, monkeypatch, caplog):
    """Beside training data of the same and of another kind; its frames have all their labels."""
    monkeypatch.chdir(tmp_path)
    hot = ase.io.read(DATA / "ethanol_gfn2_hot.xyz", ":4")
    path, n = POOLS[form](hot), SIZES[form]
    with caplog.at_level("INFO"):
        found = prepared(module, FORMS[data](all_frames()), pool_file=path)
    assert f"pool of {n} structures, {n} with labels; 0 of them" in caplog.text
    frame = found.pool.dataset[1]
    assert frame["total_energy"].item() == pytest.approx(hot[1].info["REF_energy"], rel=1e-9)
    np.testing.assert_allclose(frame["forces"].numpy(), hot[1].arrays["REF_forces"], atol=1e-9)
    assert frame["atom_types"].tolist() == [TYPE_NAMES.index(s) for s in hot[1].symbols]


@pytest.mark.parametrize("name", ["pool.h5", "pool.npz", "pool.lmdb"])
def test_a_pool_that_cannot_be_read(name, module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text("something else")
    data = files(all_frames())
    with pytest.raises(
        SettingsError, match=r"'pool_file'.*write a file that ASE reads, or an LMDB"
    ):
        prepared(module, data, pool_file=name)


def test_type_names_that_are_no_symbols(tmp_path, monkeypatch):
    """The pool's types are found by the map of the training data."""
    monkeypatch.chdir(tmp_path)
    names = ["myC", "myH", "myO"]
    species = dict(zip(TYPE_NAMES, names, strict=True))
    mapper = {**TRANSFORMS[0], "model_type_names": names}
    mapper["chemical_species_to_atom_type_map"] = species
    shifts = dict.fromkeys(names, -35.0)
    model = {**MODELS["nequip"], "type_names": names, "per_type_energy_shifts": shifts}
    training_module = training_module_of(model)
    data = {**files(all_frames()), "transforms": [mapper, TRANSFORMS[1]]}
    hot = ase.io.read(DATA / "ethanol_gfn2_hot.xyz", ":2")
    ase.io.write("pool.xyz", hot)
    write_labels("labels.npz", list(map(springs, hot[:1])), "springs")
    options = {"pool_file": "pool.xyz", "hessian_file": "labels.npz"}
    frame = prepared(training_module, data, **options).pool.dataset[0]
    assert frame["atom_types"].tolist() == [TYPE_NAMES.index(s) for s in hot[0].symbols]
    ase.io.write("pool.xyz", [hot[0], ase.Atoms("N2", [[0, 0, 0], [0, 0, 1.1]])])
    with pytest.raises(SettingsError, match=r"frame 1 .* holds N, but the model knows H, C, O"):
        prepared(training_module, data, **options)
