"""HDF5 and LMDB data with everything that PIWSL looks up in it, and labels in HDF5."""

import collections
from pathlib import Path

import ase.io
import h5py
import numpy as np
import pytest
from mace import data

from piwsl_plugins.labels.hessian_labels import write_labels
from piwsl_plugins.mace import lazy_files
from piwsl_plugins.testing.hessians import springs

from .conftest import assert_same_weights, frames, isolated_atoms, train
from .test_trainer import entries, log, write_hdf5, write_lmdb

ELEMENTS = {"E0s": "{1: -10.0, 6: -50.0, 8: -100.0}", "atomic_numbers": "[1, 6, 8]"}

pytestmark = pytest.mark.slow


class Unchanged:
    """In the place of MACE's AtomicData."""

    @staticmethod
    def from_config(config, **keywords):
        return config


def test_hdf5_files_are_read_as_mace_reads_them(tmp_path):
    """Of molecules, cells and isolated atoms, labels there or not."""
    structures = frames("ethanol_gfn2_train", 2) + frames("periodic_gfn2_train", 2)
    structures[1].info.pop("REF_energy")
    structures[0].info |= {"total_charge": 1, "total_spin": 2}
    structures += isolated_atoms("ethanol_gfn2_train")
    keys = data.KeySpecification.from_defaults()
    configs = [data.config_from_atoms(atoms, key_specification=keys) for atoms in structures]
    path = tmp_path / "some.h5"
    with h5py.File(path, "w") as file:
        data.save_configurations_as_HDF5(configs, 0, file)
    dataset = data.HDF5Dataset(path, 4.0, None, atomic_dataclass=Unchanged)
    labels = ("energy", "forces", "stress", "virials", "dipole")
    found = list(lazy_files.LazyFile(str(path), (*labels, *lazy_files.STATE)))
    bare = list(lazy_files.LazyFile(str(path)))
    assert len(found) == len(bare) == len(structures)
    for index, config in enumerate(found):
        expected = dataset[index]
        for name in ("atomic_numbers", "positions", "pbc", *(["cell"] if any(config.pbc) else [])):
            assert np.array_equal(getattr(config, name), getattr(expected, name)), name
        for name in (*labels, "total_charge", "total_spin"):
            value, wanted = config.properties.get(name), expected.properties.get(name)
            assert (value is None) == (wanted is None), name
            assert wanted is None or np.array_equal(value, wanted), name
        if len(config.atomic_numbers) == 1:
            assert config.config_type == expected.config_type == "IsolatedAtom"
        assert np.array_equal(bare[index].positions, expected.positions)
        assert np.array_equal(bare[index].atomic_numbers, expected.atomic_numbers)
        assert not bare[index].properties
    assert found[0].properties["total_charge"] == 1


def test_little_of_a_long_hdf5_file_stays_in_memory(tmp_path, monkeypatch):
    assert lazy_files.KEPT <= 3 * 2**20
    monkeypatch.setattr(lazy_files, "KEPT", 2**20)  # less than HDF5 would keep of this file
    keys = data.KeySpecification.from_defaults()
    (atoms,) = frames("ethanol_gfn2_train", 1)
    config = data.config_from_atoms(atoms, key_specification=keys)
    with h5py.File(tmp_path / "long.h5", "w") as file:
        data.save_configurations_as_HDF5([config] * 800, 0, file)
    found = lazy_files.LazyFile(str(tmp_path / "long.h5"))
    file = found._parts[0].file
    usual = file.id.get_mdc_config().max_size
    largest = [file.id.get_mdc_size()[2] for _ in found]
    assert len(largest) == 800
    assert max(largest) <= 2**20 < usual == file.id.get_mdc_config().max_size
    del found, file
    with h5py.File(tmp_path / "long.h5") as file:
        file.visititems(lambda *_: None)
        assert file.id.get_mdc_size()[2] > 2**20, "what HDF5 keeps by itself"


@pytest.mark.parametrize("write", [write_hdf5, write_lmdb])
def test_a_run_is_that_of_data_and_labels_in_memory(tmp_path, write, monkeypatch):
    """... and each structure is read once, for what is wrong in it and for what it is.

    MACE, which reads them by itself, is not counted.
    """
    pairs = {"train_file": ("train", 12), "valid_file": ("valid", 6), "pool": ("test", 5)}
    memory, lazy = {}, {}
    for name, (part, n) in pairs.items():
        memory[name] = tmp_path / f"{part}.xyz"
        ase.io.write(memory[name], frames(f"ethanol_gfn2_{part}", n))
        lazy[name] = write(tmp_path, memory[name])
    labels = [springs(atoms) for atoms in frames("ethanol_gfn2_train", 7)]
    labels += [springs(atoms) for atoms in frames("ethanol_gfn2_test", 3)]
    held_out = [springs(atoms) for atoms in frames("ethanol_gfn2_valid", 4)]
    looks = collections.Counter()
    for name in ("_of_hdf5", "_of_atoms"):
        look = getattr(lazy_files, name)

        def counting(*arguments, look=look):
            config = look(*arguments)
            looks[np.asarray(config.positions).round(6).tobytes()] += 1
            return config

        monkeypatch.setattr(lazy_files, name, counting)
    found = []
    for kind, paths, ending in (("memory", memory, "npz"), ("lazy", lazy, "h5")):
        write_labels(tmp_path / f"train.{ending}", labels, "springs")
        write_labels(tmp_path / f"valid.{ending}", held_out, "springs")
        options = {
            "piwsl_hessian_file": tmp_path / f"train.{ending}",
            "piwsl_hessian_valid_file": tmp_path / f"valid.{ending}",
            "piwsl_pool_file": paths["pool"],
        }
        files = {name: paths[name] for name in ("train_file", "valid_file")}
        found.append(train(tmp_path / kind, files, **ELEMENTS, **options))
        text = log(tmp_path / kind)
        assert "Hessian labels for 7 of 12 training structures, and for 3 of 5 of the pool" in text
        assert "Hessian labels for 4 of 6 validation structures" in text
        assert "pool of 5 structures, 5 with labels; 0 of them are in the training data" in text
    assert_same_weights(*found)
    assert entries(tmp_path / "lazy", "piwsl") == entries(tmp_path / "memory", "piwsl")
    for part, n in pairs.values():
        positions = [atoms.positions.round(6) for atoms in frames(f"ethanol_gfn2_{part}", n)]
        assert [looks[one.tobytes()] for one in positions] == [1] * n, part


@pytest.fixture
def two_heads(tmp_path):
    """Files of two heads, "first" and "second", with other energies of their atoms."""
    heads = {}
    for name, data_set, E0 in (("first", "ethanol_gfn2", -10.0), ("second", "ethanol_gfn1", -11.0)):
        heads[name] = {"E0s": f"{{1: {E0}, 6: -50.0, 8: -100.0}}"}
        for option, (part, n) in {"train_file": ("train", 6), "valid_file": ("valid", 3)}.items():
            path = tmp_path / f"{name}_{part}.xyz"
            ase.io.write(path, frames(f"{data_set}_{part}", n))
            heads[name][option] = str(path)
    return heads


def train_heads(folder, heads, **options):
    options = {"max_num_epochs": 1, "atomic_numbers": "[1, 6, 8]"} | options
    return train(folder, {}, heads=heads, **options)


@pytest.mark.parametrize("write", [write_hdf5, write_lmdb])
def test_a_lazily_read_pool_of_one_of_two_heads(write, tmp_path, two_heads):
    """MACE 0.3.16 gives data of HDF5 to the last head."""
    pool = tmp_path / "pool.xyz"
    ase.io.write(pool, frames("ethanol_gfn2_test", 5))
    found = [
        train_heads(tmp_path / name, two_heads, piwsl_heads="first", piwsl_pool_file=path)
        for name, path in (("memory", pool), ("lazy", write(tmp_path, pool)))
    ]
    assert_same_weights(*found)
    assert "with each batch, as of head 'first'" in log(tmp_path / "lazy")


@pytest.mark.parametrize(("head", "write"), [("second", write_hdf5), ("first", write_lmdb)])
def test_data_that_arrives_under_its_head(head, write, tmp_path, two_heads, capfd):
    """... with its Hessian labels, which are of this head alone, and as held-out data."""
    data_set = {"first": "ethanol_gfn2", "second": "ethanol_gfn1"}[head]
    labels = [springs(atoms) for atoms in frames(f"{data_set}_train", 6)[2:]]
    write_labels(tmp_path / "labels.npz", labels, "springs")
    options = {"piwsl_heads": head, "piwsl_hessian_file": tmp_path / "labels.npz"}
    memory = train_heads(tmp_path / "memory", two_heads, **options)
    for option in ("train_file", "valid_file"):
        two_heads[head][option] = str(write(tmp_path, Path(two_heads[head][option])))
    assert_same_weights(train_heads(tmp_path / "run", two_heads, **options), memory)
    for name in ("memory", "run"):
        assert "Hessian labels for 4 of 6 training structures; all 4 labels" in log(tmp_path / name)
    pool = tmp_path / "pool.xyz"
    ase.io.write(pool, frames(f"{data_set}_valid", 3)[2:])
    with pytest.raises(SystemExit):
        train_heads(tmp_path / "pool", two_heads, **options, piwsl_pool_file=pool)
    held_out = f"is frame 2 (from 0) of {two_heads[head]['valid_file']} of head '{head}'"
    assert held_out in capfd.readouterr().err


@pytest.mark.parametrize("option", ["train_file", "valid_file"])
def test_data_that_arrives_under_another_head(option, tmp_path, two_heads, capfd):
    path = str(write_hdf5(tmp_path, Path(two_heads["first"][option])))
    two_heads["first"][option] = path
    with pytest.raises(SystemExit) as ended:
        train_heads(tmp_path / "run", two_heads)
    assert ended.value.code == 2
    message = capfd.readouterr().err.split("mace_run_train: error: ")[1]
    assert message.startswith(f"{path}: MACE reads data of HDF5 as of head 'second', not")
    assert "LMDB" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("write", [write_hdf5, write_lmdb])
def test_a_lazily_read_pool_that_cannot_be_right(tmp_path, files, write, capfd):
    structures = frames("ethanol_gfn2_test", 3)
    structures[1].arrays["REF_forces"][0] = np.nan
    ase.io.write(tmp_path / "pool.xyz", structures)
    path = write(tmp_path, tmp_path / "pool.xyz")
    with pytest.raises(SystemExit):
        train(tmp_path / "run", files, piwsl_pool_file=path)
    message = capfd.readouterr().err.split("mace_run_train: error: ")[1]
    assert message.startswith(f"--piwsl_pool_file={path}: frame 1 (from 0): 'forces' is not finite")
